"""Results of one input never replace those of another, and never become inputs; what is not read is told."""

import numpy as np
import pytest
from clip_runs import run as run_clip
from clip_runs import write_clip
from test_live import Capture
from toy_demo import contents, results, run, write_boxes, write_pictures

from shared_tmu.demo import live, main
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.options import parse_options
from shared_tmu.demo.origins import PICTURE, Input, origin_of, with_earlier_keys
from shared_tmu.demo.sources import open_pictures
from shared_tmu.pictures.listing import list_images

RIGHT = {"box_xyxy": [10, 10, 40, 40], "is_right": True}


@pytest.fixture
def any_boxes(tmp_path):
    """A hand on every input of these tests."""
    names = ("a.jpg", "a.png", "IMG_1.jpg", "IMG_1.mov", "IMG_1.mp4", "camera_0")
    return write_boxes(tmp_path / "any.json", {key: [RIGHT] for key in names})


def test_pictures_of_another_folder_do_not_replace_results(program, tmp_path, any_boxes, out, caplog):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, size in ((first, (60, 50)), (second, (64, 50))):
        write_pictures(folder, {"a.jpg": size})
    assert run(program, first, out, boxes=any_boxes) == 0
    before = contents(out)
    for flags in ((), ("--resume",)):
        caplog.clear()
        assert run(program, second, out, *flags, boxes=any_boxes) == 1
        assert f"(a: of the picture {first / 'a.jpg'})" in caplog.text
        assert contents(out) == before


@pytest.mark.parametrize("flags", [(), ("--resume",)])
def test_a_clip_replaces_neither_a_picture_nor_another_clip(program, tmp_path, any_boxes, out, caplog, flags):
    write_pictures(tmp_path / "live", {"IMG_1.jpg": (60, 50)})
    assert run(program, tmp_path / "live", out, "--save_mesh", boxes=any_boxes) == 0
    before = contents(out)
    assert run_clip(program, write_clip(tmp_path / "live" / "IMG_1.mov"), out, *flags, boxes=any_boxes) == 1
    assert "of the picture " in caplog.text
    assert contents(out) == before
    clips = tmp_path / "clips"
    first, other = write_clip(tmp_path / "live" / "IMG_1.mov"), write_clip(tmp_path / "IMG_1.mp4", frames=3)
    assert run_clip(program, first, clips, boxes=any_boxes) == 0
    before = contents(clips)
    assert run_clip(program, other, clips, *flags, boxes=any_boxes) == 1
    assert f"of the video {first}" in caplog.text
    assert contents(clips) == before


def test_a_file_that_was_moved_or_changed_keeps_its_results(program, tmp_path, any_boxes, out, caplog):
    images = write_pictures(tmp_path / "images", {"a.jpg": (60, 50)})
    assert run(program, images, out, boxes=any_boxes) == 0
    moved = images.rename(tmp_path / "moved")
    stamp = (out / "a.npz").stat().st_mtime_ns
    assert run(program, moved, out, "--resume", boxes=any_boxes) == 0
    assert (out / "a.npz").stat().st_mtime_ns == stamp
    assert run(program, moved, out, boxes=any_boxes) == 0
    write_pictures(moved, {"a.jpg": (80, 50)})
    assert run(program, moved, out, boxes=any_boxes) == 0
    assert np.load(out / "a.npz")["image_size_px"].tolist() == [80, 50]


def test_a_picture_of_the_same_stem_that_comes_or_goes_renames_nothing(program, tmp_path, any_boxes, out):
    images = write_pictures(tmp_path / "images", {"a.jpg": (60, 50)})
    assert run(program, images, out, boxes=any_boxes) == 0
    write_pictures(images, {"a.png": (64, 50)})
    assert run(program, images, out, "--resume", boxes=any_boxes) == 0
    assert [name for name in results(out) if name.endswith(".npz")] == ["a.npz", "a_png.npz"]
    (images / "a.jpg").unlink()
    before = contents(out)
    assert run(program, images, out, "--resume", boxes=any_boxes) == 0
    assert contents(out) == before


def test_earlier_names_are_kept_and_none_is_given_twice(tmp_path):
    write_pictures(tmp_path, {"a.jpg": (8, 8), "a.png": (9, 8), "a_png.jpg": (7, 8), "a_png.png": (6, 8)})
    sources = list_images(tmp_path, ["*.jpg", "*.png"])
    with OutputFolder(tmp_path / "out", "o") as folder:
        assert with_earlier_keys(folder, sources) == sources
        path = tmp_path / "a_png.jpg"
        folder.commit("a_png", "d", {}, 0, 1, origin=origin_of(PICTURE, path))
        keys = {one.name: one.key for one in with_earlier_keys(folder, sources)}
    assert keys["a_png.jpg"] == "a_png"
    assert len({key.lower() for key in keys.values()}) == len(sources)


def test_a_note_without_an_origin_counts_by_its_digest(tmp_path):
    write_pictures(tmp_path, {"a.jpg": (8, 8)})
    one = Input("a", PICTURE, tmp_path / "a.jpg")
    with OutputFolder(tmp_path / "out", "o") as folder:
        for digest, is_made in ((one.digest, True), ("other", False), ("", False)):
            folder.commit("a", digest, {}, 0, 1)
            assert one.made(folder.note("a")) == is_made
    assert Input("b", PICTURE, tmp_path / "missing.jpg").digest == ""


def test_a_second_recording_does_not_replace_the_first(
    program, tmp_path, any_boxes, out, monkeypatch, caplog
):
    arguments = ["--camera", "0", "--out_folder", out, "--device", "cpu", "--r", "4x3", "--boxes", any_boxes]
    arguments = [str(word) for word in (*arguments, "--draw_processes", "0", "--no-overlays")]
    before = {}
    for key in ("camera_0", "camera_0_2", "camera_0_3"):
        monkeypatch.setattr(live, "open_capture", lambda address: Capture(frames=5))
        assert main(program, arguments) == 0
        now = contents(out)
        assert before.items() <= now.items()
        assert {f"{key}.npz", f"{key}.json", f".finished/{key}.json"} <= set(now) - set(before)
        before = now
    assert "has an earlier recording of camera_0: this one is camera_0_3" in caplog.text


def test_results_of_an_earlier_run_are_no_inputs(tmp_path, caplog):
    caplog.set_level("INFO")
    for name in ("a/one.jpg", "old/one_all.jpg", "old/.finished/one.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [one.name for one in list_images(tmp_path, ["*/*.jpg"])] == ["a/one.jpg"]
    assert f"{tmp_path / 'old'} holds results of the demo, so it is not searched" in caplog.text
    assert [one.name for one in list_images(tmp_path / "old", ["*.jpg"])] == [
        "one_all.jpg"
    ]  # asked for by name


def test_pictures_that_the_default_leaves_out_are_told(program, tmp_path, caplog):
    caplog.set_level("INFO")
    images = write_pictures(tmp_path / "images", {"a.jpg": (8, 8)})
    for name in ("b.webp", "c.TIFF", "d.tiff", "notes.txt", ".hidden.webp"):
        (images / name).write_bytes(b"")
    told = f"3 other pictures in {images} are not read (2 .tiff, 1 .webp): --file_type chooses."
    for flags, is_told in (([], True), (["--file_type", "*.jpg"], False)):
        caplog.clear()
        open_pictures(parse_options(program, ["--img_folder", str(images), *flags]))
        assert (told in caplog.text) == is_told
