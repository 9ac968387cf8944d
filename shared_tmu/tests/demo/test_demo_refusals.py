"""Pictures, boxes and options that cannot be, and runs that are stopped."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from toy_demo import BOXES, contents, demo_program, results, run, write_boxes, write_pictures

from shared_tmu.programs.results import read_records


def bad_pictures(folder):
    write_pictures(folder, {"good.png": (60, 50), "rotated.jpg": (80, 50)})
    grey16 = (np.arange(60 * 50).reshape(50, 60) * 20).astype(np.uint16)
    cv2.imwrite(str(folder / "deep.png"), grey16)
    base = Image.open(folder / "good.png")
    base.convert("L").save(folder / "grey.png")
    base.convert("CMYK").save(folder / "cmyk.jpg")
    base.convert("RGBA").save(folder / "alpha.png")
    base.resize((1, 1)).save(folder / "pixel.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(folder / "rotated.jpg").save(folder / "rotated.jpg", exif=exif)
    data = (folder / "rotated.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_bytes(b"these are not the pixels you are looking for")
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    return folder


def test_bad_pictures_get_one_message_each_and_the_rest_is_processed(program, tmp_path, out, caplog, capsys):
    folder = bad_pictures(tmp_path / "bad")
    assert run(program, folder, out, "--detector", "whole-image") == 1
    good = ["alpha", "cmyk", "deep", "good", "grey", "pixel", "rotated"]
    assert [name for name in results(out) if name.endswith(".json")] == [f"{key}.json" for key in good]
    failed = ["dangling.jpg", "empty.jpg", "text.png", "truncated.jpg"]
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 4
    listed = capsys.readouterr().out
    assert "4 problems; everything else was processed" in listed
    for name, message in zip(failed, errors, strict=True):
        assert name in message
        assert message in listed
    for name, words in (
        ("deep.png", "16-bit"),
        ("cmyk.jpg", "CMYK"),
        ("alpha.png", "transparency"),
        ("grey.png", "grey"),
    ):
        assert sum(name in r.getMessage() and words in r.getMessage() for r in caplog.records) == 1
    assert json.loads((out / "rotated.json").read_text())["image_size_px"] == [50, 80]
    assert "7 of 11 images" in listed


def test_bad_boxes_get_one_message_each_and_the_rest_is_processed(
    program, images, boxes, out, caplog, capsys
):
    bad = {
        **BOXES,
        "b.png": [
            {"box_xyxy": [50, 50, 20, 20], "is_right": True},
            {"box_xyxy": [900, 0, 950, 9], "is_right": True},
            {"box_xyxy": [-1e12, -1e12, 1e12, 1e12], "is_right": True},  # cannot be cut out
            *BOXES["b.png"],
        ],
    }
    write_boxes(boxes, {**bad, "nobody.jpg": []})
    assert run(program, images, out, boxes=boxes) == 1
    text = capsys.readouterr().out
    assert "b.png: box 0 of the boxes file: box [50, 50, 20, 20] is empty or upside down" in text
    assert "b.png: box 1 of the boxes file: box [900, 0, 950, 9] lies outside the image of 100 x 90" in text
    assert "more than 64 times a picture of 100x90" in text
    assert len(json.loads((out / "b.json").read_text())["hands"]) == 1
    assert "nobody.jpg" in caplog.text
    assert run(program, images, out, "--resume", boxes=boxes) == 1  # what was wrong is said again
    assert "3 problems;" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [(("--r", "1x9"), "names 9 layers, this trunk has 4"),
     (("--file_type", "*.gif"), r"no image in .* matches \*\.gif"),
     (("--detector", "yolo"), "detector.pt"), (("--img_folder", "missing"), "missing does not exist"),
     (("--out_folder", "/proc/nothing"), "cannot be written to"), (("--device", "cuda"), "cuda")],
)  # fmt: skip
def test_what_cannot_work_says_so_before_any_work(program, images, out, caplog, flags, message):
    assert run(program, images, out, *flags) == 1
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1
    assert re.search(message, caplog.text)
    assert not out.exists()


def test_the_image_folder_is_not_written_to(program, images, boxes, caplog):
    before = contents(images)
    assert run(program, images, images, boxes=boxes) == 1
    assert "choose another folder" in caplog.text
    assert contents(images) == before


def test_resume_keeps_what_is_finished_and_only_that(program, images, boxes, out, capsys):
    assert run(program, images, out, boxes=boxes) == 0
    clean = contents(out)
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    assert run(program, images, out, "--resume", boxes=boxes) == 0
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == stamps
    (out / "b_0.png").unlink()
    (out / "d.npz").unlink()
    assert run(program, images, out, "--resume", boxes=boxes) == 0
    assert contents(out) == clean
    assert (out / "a.json").stat().st_mtime_ns == stamps[out / "a.json"]
    (out / "d.json").write_bytes(theirs := clean["d.json"].replace(b"d.jpg", b"D.jpg"))
    assert run(program, images, out, "--resume", boxes=boxes) == 1  # changed by somebody: not written over
    assert "d.json in" in capsys.readouterr().out
    assert contents(out) == {**clean, "d.json": theirs}
    (out / "d.json").unlink()
    assert run(program, images, out, "--resume", "--r", "off", boxes=boxes) == 0  # other options: done again
    assert json.loads((out / "a.json").read_text())["schedule"] == "off"
    write_pictures(images, {"a.jpg": (140, 90)})  # another picture of the same name
    assert run(program, images, out, "--resume", "--r", "off", boxes=boxes) == 0
    assert json.loads((out / "a.json").read_text())["image_size_px"] == [140, 90]


def test_without_resume_results_are_replaced_and_nothing_stale_stays(
    program, images, boxes, out, tmp_path, caplog
):
    assert run(program, images, out, "--save_mesh", boxes=boxes) == 0
    fewer = write_boxes(tmp_path / "fewer.json", {**BOXES, "d.jpg": BOXES["d.jpg"][:1]})
    caplog.clear()
    assert run(program, images, out, boxes=fewer) == 0
    assert "--resume keeps them" in caplog.text
    clean = tmp_path / "clean"
    assert run(program, images, clean, boxes=fewer) == 0
    assert contents(out) == contents(clean)


def test_batch_size_one_and_many_say_the_same(program, images, boxes, out, tmp_path):
    assert run(program, images, out, "--batch_size", 1, boxes=boxes) == 0
    assert run(program, images, tmp_path / "many", "--batch_size", 50, boxes=boxes) == 0
    for key in "abd":
        a, b = np.load(out / f"{key}.npz"), np.load(tmp_path / "many" / f"{key}.npz")
        for name in a.files:
            assert np.allclose(a[name], b[name], atol=1e-4), name


KILLED = """
    import os, signal, sys
    sys.path[:0] = {paths!r}
    from pathlib import Path
    from shared_tmu.demo.ledger import OutputFolder
    from toy_demo import demo_program, run
    replace, left = OutputFolder._replace, [{stop}]
    def killing(self, path, content):
        left[0] -= 1
        if left[0] == 0:
            if {halfway}:
                (self.folder / ".staging" / "part").write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        replace(self, path, content)
    OutputFolder._replace = killing
    run(demo_program(Path({model!r})), {images!r}, {out!r}, "--save_mesh", *{flags!r}, boxes={boxes!r})
"""


def killed_run(stop, halfway, images, boxes, out, tmp_path, *flags):
    script = textwrap.dedent(KILLED).format(
        paths=[str(Path(__file__).parents[1])], stop=stop, halfway=halfway, model=str(tmp_path / "model"),
        images=str(images), out=str(out), boxes=str(boxes), flags=list(flags),
    )  # fmt: skip
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode


def test_killed_runs_resume_to_the_very_same_files(program, images, boxes, out, tmp_path):
    clean = tmp_path / "clean"
    assert run(program, images, clean, "--save_mesh", boxes=boxes) == 0
    assert killed_run(4, True, images, boxes, out, tmp_path) == -signal.SIGKILL
    assert killed_run(14, False, images, boxes, out, tmp_path, "--resume") == -signal.SIGKILL
    assert set(contents(out)) < set(contents(clean)) | {".staging/part", ".staging/of-shared-tmu"}
    assert run(program, images, out, "--save_mesh", "--resume", boxes=boxes) == 0
    assert contents(out) == contents(clean)


def test_a_run_can_be_killed_from_outside_at_any_time(program, images, boxes, out, tmp_path):
    script = textwrap.dedent("""
        import sys
        sys.path[:0] = {paths!r}
        from pathlib import Path
        from toy_demo import demo_program, run
        print("ready", flush=True)
        run(demo_program(Path({model!r})), {images!r}, {out!r}, "--save_mesh", "--tokens", boxes={boxes!r})
    """).format(
        paths=[str(Path(__file__).parents[1])], model=str(tmp_path / "model"), images=str(images),
        out=str(out), boxes=str(boxes),
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    process.stdout.readline()
    deadline = time.monotonic() + 60
    while not list(out.glob("*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert run(program, images, out, "--save_mesh", "--tokens", "--resume", boxes=boxes) == 0
    clean = tmp_path / "clean"
    assert run(program, images, clean, "--save_mesh", "--tokens", boxes=boxes) == 0
    assert contents(out) == contents(clean)


def test_compare_shows_three_ways_with_times(program, images, boxes, out, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    assert run(program, images, out, "--compare", boxes=boxes) == 0
    assert re.search(r"--compare: baseline, merge-only .*, TMU .* are timed in turn on \d hand", caplog.text)
    assert cv2.imread(str(out / "a_0_compare.png")).shape == (384 + 26, 4 * 384, 3)
    text = capsys.readouterr().out
    for line in (
        r"baseline +[\d.]+ +1\.00x +0\.00",
        r"merge-only 4x3 +[\d.]+ +[\d.]+x +[\d.]+",
        r"TMU 4x3 +[\d.]+",
    ):
        assert re.search(line, text), line
    plain = tmp_path / "plain"
    assert run(program, images, plain, boxes=boxes) == 0
    for name, content in contents(plain).items():
        if not name.startswith("."):
            assert (out / name).read_bytes() == content


def test_bfloat16(program, images, boxes, out, tmp_path, capsys):
    """Its results differ from float32's, and the run says by how much."""
    for dtype, folder in (("bfloat16", out), ("float32", tmp_path / "wide")):
        report = tmp_path / f"{dtype}.jsonl"
        flags = ("--dtype", dtype, "--report", report)
        assert run(program, images, folder, *flags, boxes=boxes) == 0
        (line,) = read_records(report)
        said = capsys.readouterr().out
        assert f"{dtype} (as asked)" in said
        if dtype == "float32":
            assert line["dtype_error"] is None
            assert "vertices off float32" not in said
        else:
            assert 0 < line["dtype_error"]["mean_mm"] <= line["dtype_error"]["max_mm"] < 20
            assert re.search(rf"off float32 +{line['dtype_error']['mean_mm']:.3f} mm mean", said)
    a, b = (np.load(folder / "a.npz")["vertices_m"] for folder in (out, tmp_path / "wide"))
    assert 0 < np.abs(a - b).max() < 0.02


def test_numbers_that_are_not_finite_are_a_failure_not_a_result(
    program, images, boxes, out, monkeypatch, capsys
):
    import toy_demo

    forward = toy_demo.ToyDemoHand.forward

    def broken(self, batch):
        output = forward(self, batch)
        output["pred_vertices"] = output["pred_vertices"] * float("nan")
        return output

    monkeypatch.setattr(toy_demo.ToyDemoHand, "forward", broken)
    assert run(program, images, out, boxes=boxes) == 1
    assert "not finite" in capsys.readouterr().out
    assert results(out) == ["c.json", "c.npz"]


def test_another_models_results_are_not_overwritten(tmp_path, capsys, caplog):
    images, out = tmp_path / "images", tmp_path / "out"
    write_pictures(images, {"a.png": (60, 50), "b.png": (60, 50)})
    boxes = write_boxes(tmp_path / "boxes.json", dict.fromkeys(("a.png", "b.png", "c.png"), BOXES["b.png"]))
    first = demo_program(tmp_path / "toy")
    second = dataclasses.replace(first, name="Other")
    assert run(first, images, out, boxes=boxes) == 0
    before = contents(out)
    caplog.clear()
    assert run(second, images, out, boxes=boxes) == 1
    assert (
        f"has {first.name} results of 2 of these images (a, ...), which Other would overwrite" in caplog.text
    )
    assert contents(out) == before
    (images / "a.png").unlink()
    (images / "b.png").rename(images / "c.png")
    caplog.clear()
    assert run(second, images, out, boxes=boxes) == 0
    assert "holds results of" not in caplog.text  # of other images only
    assert before.items() <= contents(out).items()
