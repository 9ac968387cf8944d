"""What is bounded however many images there are, and runs that end early."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from toy_demo import SIZES, contents, results, run, write_boxes, write_pictures

from shared_tmu.demo import batching, stages
from shared_tmu.demo.channels import PixelBudget
from shared_tmu.demo.drawing import DrawingProcess, Finisher, choose_processes
from shared_tmu.demo.report import Report
from shared_tmu.demo.saving import Drawer
from shared_tmu.errors import InputError, MissingDependencyError

DEADLINE_S = 60


@pytest.mark.parametrize(
    ("asked", "images", "draws", "processes"),
    [(None, 1000, True, 2), (None, 20, True, 1), (None, 6, True, 0), (None, 1000, False, 0),
     (5, 1000, True, 5), (5, 2, True, 2), (3, 9, False, 0), (0, 1000, True, 0)],
)  # fmt: skip
def test_how_many_processes_draw(monkeypatch, asked, images, draws, processes):
    monkeypatch.setattr("shared_tmu.demo.drawing._cores", lambda: 2)
    assert choose_processes(asked, images, draws) == processes


def test_images_on_their_way_are_few_however_many_there_are(program, tmp_path, out, monkeypatch):
    folder = write_pictures(tmp_path / "many", {f"{i:03d}.png": (40, 30) for i in range(40)})
    monkeypatch.setattr(batching, "MAX_WAITING_PIXELS", 5 * 40 * 30)
    on_their_way, most = [0], [0]
    lock = threading.Lock()

    def count(change):
        with lock:
            on_their_way[0] += change
            most[0] = max(most[0], on_their_way[0])

    take, save = PixelBudget.take, stages.Stages._save
    monkeypatch.setattr(PixelBudget, "take", lambda self, pixels: (take(self, pixels), count(1)))
    files = Drawer.files
    monkeypatch.setattr(Drawer, "files", lambda self, job: (time.sleep(0.01), files(self, job))[1])
    monkeypatch.setattr(
        stages.Stages, "_save", lambda self, job, drawn: (count(-1), save(self, job, drawn))[1]
    )
    assert run(program, folder, out, "--detector", "whole-image", "--draw_processes", 0) == 0
    assert len(results(out)) == 40 * 4
    assert on_their_way[0] == 0
    assert most[0] <= 5 + 1


def test_large_images_go_through_alone_and_resume_the_same(program, tmp_path, out, monkeypatch):
    small, large = (20, 10), (40, 30)
    sizes = [small, large, large, small, small, large, small]
    folder = write_pictures(tmp_path / "mixed", {f"{i}.png": size for i, size in enumerate(sizes)})
    (folder / "8.png").write_bytes(b"no picture")
    monkeypatch.setattr(batching, "LARGE_PIXELS", 1000)
    on_their_way: list[int] = []
    alone, take, give_back = PixelBudget.take_alone, PixelBudget.take, PixelBudget.give_back

    def counted(entry):
        def enter(self, pixels):
            entry(self, pixels)
            on_their_way.append(pixels)
            assert len(on_their_way) == 1 or max(on_their_way) < 1000

        return enter

    def leave(self, pixels):
        if pixels:
            on_their_way.remove(pixels)
        give_back(self, pixels)

    monkeypatch.setattr(PixelBudget, "take_alone", counted(alone))
    monkeypatch.setattr(PixelBudget, "take", counted(take))
    monkeypatch.setattr(PixelBudget, "give_back", leave)
    flags = ("--detector", "whole-image", "--batch_size", 4)
    assert run(program, folder, out, *flags) == 1
    first = results(out)
    assert on_their_way == []
    for name in [name for name in first if name.startswith(("2", "4"))]:
        (out / name).unlink()
    assert run(program, folder, out, *flags, "--resume") == 1
    assert results(out) == first


def test_one_process_draws_the_same_files_and_one_that_dies_takes_one_image_with_it(
    program, images, boxes, out, tmp_path, monkeypatch, capsys
):
    flags = ("--save_mesh", "--side_view", "--tokens")
    clean = tmp_path / "clean"
    assert run(program, images, clean, *flags, "--draw_processes", 0, boxes=boxes) == 0
    drawn, draw = [], DrawingProcess.draw

    def dying(self, job):
        drawn.append(self.pid)
        if job.source.name == "b.png":
            os.kill(self.pid, signal.SIGKILL)
        return draw(self, job)

    monkeypatch.setattr(DrawingProcess, "draw", dying)
    capsys.readouterr()
    assert run(program, images, out, *flags, "--draw_processes", 1, boxes=boxes) == 1
    text = capsys.readouterr().out
    assert "1 problem; everything else" in text
    assert "b.png: the drawing process died (SIGKILL, possibly out of memory)" in text
    assert len(drawn) == 4
    assert len(set(drawn)) == 2  # it was replaced
    without_b = {name for name in contents(clean) if not re.search(r"(^|/)b[._]", name)}
    assert set(contents(out)) == without_b
    assert run(program, images, out, *flags, "--resume", "--draw_processes", 0, boxes=boxes) == 0
    assert contents(out) == contents(clean)
    for pid in set(drawn):
        assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_cannot_start_ends_the_run_with_a_reason(
    program, images, boxes, out, monkeypatch, caplog
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run(program, images, out, "--draw_processes", 1, boxes=boxes) == 1
    assert "did not start (exit status 1)" in caplog.text
    assert "--draw_processes 0" in caplog.text


def test_an_error_nobody_expected_costs_one_image(program, images, boxes, out, monkeypatch, capsys):
    files = Drawer.files

    def broken(self, job):
        if job.source.name == "d.jpg":
            raise IndexError("no such vertex")
        return files(self, job)

    monkeypatch.setattr(Drawer, "files", broken)
    assert run(program, images, out, boxes=boxes) == 1
    assert "d.jpg: drawing failed (IndexError: no such vertex)" in capsys.readouterr().out
    assert [name for name in results(out) if name.endswith(".json")] == ["a.json", "b.json", "c.json"]


def test_a_missing_package_or_a_full_disk_ends_the_run(program, images, boxes, out, monkeypatch, caplog):
    def missing(self, job):
        raise MissingDependencyError("trimesh is not installed")

    with monkeypatch.context() as patched:
        patched.setattr(Drawer, "files", missing)
        assert run(program, images, out, boxes=boxes) == 1
    assert "MissingDependencyError: trimesh" in caplog.text

    def full(self, job, drawn):
        raise InputError("no space left")

    monkeypatch.setattr(stages.Stages, "_save", full)
    assert run(program, images, out, boxes=boxes) == 1
    assert "no space left" in caplog.text


def test_failures_are_listed_in_the_order_of_the_images():
    report = Report()
    for name in ("c", "a", "b", "a"):
        assert report.fail(name, [f"{name}: bad {len(report.failures)}"], most=4)
    assert not report.fail("a", ["a: worse", "a: bad again"], most=4)
    in_order = ["a: bad 1", "a: bad 3", "b: bad 2", "c: bad 0", "and 2 more"]
    assert report.failures_in_order("abc".index) == in_order


def test_the_busy_share_is_model_time_over_wall_time(program, images, boxes, out, tmp_path, capsys):
    report = Report(images=4, found=7, wall_s=20.0)
    report.add("model", 15.0)
    assert report.busy == 0.75
    assert ("model busy", "75 % of the wall time (waited 0.00 s for hands, 0.00 s for files)") in report.rows(
        7, (192, 92)
    )
    path = tmp_path / "report.jsonl"
    for _ in range(2):
        assert run(program, images, out, "--report", path, boxes=boxes) == 0
    _, record = (json.loads(line) for line in path.read_text().splitlines())
    assert (record["images"], record["hands"], record["schedule"], record["batch_size"]) == (4, 7, "4x3", 3)
    assert record["model_busy"] == pytest.approx(record["seconds"]["model"] / record["wall_s"])
    waited = record["waited_for_crops_s"] + record["waited_for_files_s"]
    assert 0 < record["seconds"]["model"] + waited <= record["wall_s"]
    assert len(record["memory_mb"]) == 10
    assert min(record["memory_mb"]) > 50
    assert re.search(rf"model busy +{100 * record['model_busy']:.0f} %", capsys.readouterr().out)
    assert run(program, images, out, "--report", tmp_path, boxes=boxes) == 1  # a folder


def test_overlays_can_be_off(program, images, boxes, out, monkeypatch, caplog):
    held = []
    files = Drawer.files
    monkeypatch.setattr(Drawer, "files", lambda self, job: (held.append(job.image), files(self, job))[1])
    assert run(program, images, out, "--no-overlays", boxes=boxes) == 0
    assert results(out) == [f"{key}.{suffix}" for key in "abcd" for suffix in ("json", "npz")]
    assert held == [None] * 4  # photographs are dropped once the hands are cut out
    assert run(program, images, out, "--no-overlays", "--no-save_params", boxes=boxes) == 1
    assert "leave nothing to save" in caplog.text
    assert run(program, images, out, "--no-overlays", "--side_view", boxes=boxes) == 1
    assert "--side_view adds a view to the overlays" in caplog.text


STOPPED = """
    import sys
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else a shell may have it ignored
    sys.path[:0] = {paths!r}
    from pathlib import Path
    from toy_demo import demo_program, run
    sys.exit(run(demo_program(Path({model!r})), {images!r}, {out!r}, "--save_mesh", "--draw_processes", 2,
                 boxes={boxes!r}))
"""


def children_of(pid):
    """Processes that `pid` has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def is_running(pid):
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process_behind_and_can_be_resumed(program, boxes, out, tmp_path, how):
    sizes = {f"{key}{n}.jpg": SIZES["a.jpg"] for key in "abc" for n in range(8)}
    images = write_pictures(tmp_path / "images", sizes)
    entries = {name: [{"box_xyxy": [30, 20, 70, 70], "is_right": True}] for name in sizes}
    write_boxes(boxes, entries)
    script = textwrap.dedent(STOPPED).format(
        paths=[str(Path(__file__).parents[1])], model=str(tmp_path / "model"), images=str(images),
        out=str(out), boxes=str(boxes),
    )  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + DEADLINE_S
    while not list(out.glob("*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    helpers = children_of(process.pid)
    assert len(helpers) == 2
    os.kill(process.pid, how)
    _, errors = process.communicate(timeout=DEADLINE_S)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Interrupted." in errors
        assert "Traceback" not in errors
        assert "died" not in errors
    deadline = time.monotonic() + DEADLINE_S
    while any(is_running(pid) for pid in helpers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in helpers if is_running(pid)]
    assert len(list(out.glob("*.png"))) < len(sizes)
    clean = tmp_path / "clean"
    assert run(program, images, clean, "--save_mesh", "--draw_processes", 0, boxes=boxes) == 0
    assert run(program, images, out, "--save_mesh", "--resume", "--draw_processes", 0, boxes=boxes) == 0
    assert contents(out) == contents(clean)


def test_a_finisher_that_is_left_early_saves_nothing_more():
    saved = []
    with Finisher(0) as finisher, finisher.running(None, lambda job, drawn: saved.append(drawn)):
        pass
    assert saved == []
