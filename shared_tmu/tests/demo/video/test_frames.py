"""Frames in order and bounded, runs that are stopped, clips that cannot be."""

import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from clip_runs import SIZE, frames_of, run, write_clip
from toy_demo import results, write_boxes

from shared_tmu.demo import batching
from shared_tmu.demo.batching import Batch, Batcher, Job
from shared_tmu.demo.channels import PixelBudget
from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.clips import Clip, ClipReader
from shared_tmu.demo.disk_arrays import GrowingArrays
from shared_tmu.demo.frames import FrameOrder
from shared_tmu.demo.saving import Drawer
from shared_tmu.detect import Detection
from shared_tmu.errors import InputError
from shared_tmu.pictures.listing import Source


def test_a_full_disk_leaves_no_video(program, clip, boxes, out, monkeypatch, caplog):
    open_file = Path.open

    def full_after(self, mode="r", **how):
        if self.name == "clip.mp4" and "w" in mode:
            return open_file(Path("/dev/full"), mode, **how)
        return open_file(self, mode, **how)

    monkeypatch.setattr(Path, "open", full_after)
    assert run(program, clip, out, boxes=boxes) == 1
    assert "cannot write the results of clip.mp4" in caplog.text
    assert "No space left on device" in caplog.text
    assert not out.exists()
    monkeypatch.undo()
    caplog.clear()

    def full(self, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GrowingArrays, "append", full)
    assert run(program, clip, out, boxes=boxes) == 1
    assert "No space left on device" in caplog.text
    assert not out.exists()


def test_a_file_that_grows_too_large_ends_the_run(program, clip, boxes, out, monkeypatch, caplog, capsys):
    """A FAT disk has no files above 4 GB: this is not a fault of one frame."""

    def too_large(self, arrays):
        raise OSError(27, "File too large")

    monkeypatch.setattr(GrowingArrays, "append", too_large)
    assert run(program, clip, out, boxes=boxes) == 1
    assert "clip.mp4 to" in caplog.text
    assert "(File too large). Nothing of it was saved: choose another --out_folder" in caplog.text
    assert "everything else was processed" not in capsys.readouterr().out
    assert not out.exists()


STOPPED = """
    import sys, time
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else a shell may have it ignored
    sys.path[:0] = {paths!r}
    from pathlib import Path
    from clip_runs import run
    from shared_tmu.demo.frames import FrameDrawer
    from toy_demo import demo_program
    files = FrameDrawer.files
    FrameDrawer.files = lambda self, job: (time.sleep(0.2), files(self, job))[1]
    sys.exit(run(demo_program(Path({model!r})), {clip!r}, {out!r}, boxes={boxes!r}))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_nothing_under_the_final_names(program, clip, boxes, out, tmp_path, how):
    paths = {"clip": str(clip), "out": str(out), "boxes": str(boxes), "model": str(tmp_path / "model")}
    script = textwrap.dedent(STOPPED).format(
        paths=[str(Path(__file__).parents[1]), str(Path(__file__).parents[2])], **paths
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while (
        not (out / ".staging" / "clip.mp4").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    os.kill(process.pid, how)
    _, errors = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert "nothing was saved" in errors
        assert not out.exists()
    else:
        assert results(out) == []
    assert run(program, clip, out, "--resume", boxes=boxes) == 0
    assert results(out) == ["clip.json", "clip.mp4", "clip.npz", "clip_track_0.csv", "clip_track_1.csv"]
    assert not (out / ".staging").exists()


@pytest.mark.parametrize("with_hands", [[0], range(40)], ids=["one hand at the start", "a hand in each"])
def test_frames_on_their_way_are_few_however_many_there_are(program, out, tmp_path, monkeypatch, with_hands):
    clip = write_clip(tmp_path / "many.mp4", frames=40, size=(64, 48))
    hand = {"box_xyxy": [10, 10, 40, 40], "is_right": True}
    boxes = write_boxes(tmp_path / "b.json", {f"many.mp4:{index}": [hand] for index in with_hands})
    monkeypatch.setattr(batching, "MAX_WAITING_PIXELS", 5 * 64 * 48)
    on_their_way, most, lock = [0], [0], threading.Lock()

    def count(change):
        with lock:
            on_their_way[0] += change
            most[0] = max(most[0], on_their_way[0])

    take, give_back = PixelBudget.take, PixelBudget.give_back
    monkeypatch.setattr(PixelBudget, "take", lambda self, pixels: (take(self, pixels), count(1)))
    monkeypatch.setattr(PixelBudget, "give_back", lambda self, pixels: (count(-1), give_back(self, pixels)))
    files = Drawer.files
    monkeypatch.setattr(Drawer, "files", lambda self, job: (time.sleep(0.01), files(self, job))[1])
    assert run(program, clip, out, "--batch_size", 8, "--draw_processes", 0, boxes=boxes) == 0
    assert len(frames_of(out / "many.mp4")) == 40
    assert on_their_way[0] == 0
    assert most[0] <= 5 + 1


def test_rows_take_no_memory(tmp_path):
    def peak(rows):
        tracemalloc.start()
        with GrowingArrays(tmp_path) as growing:
            for _ in range(rows):
                growing.append({"vertices_m": np.zeros((1, 1000, 3), np.float32)})
            growing.save(tmp_path / "rows.npz", ["vertices_m"], {})
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.load(tmp_path / "rows.npz")["vertices_m"].shape == (rows, 1000, 3)
        return found

    peak(5)
    assert peak(500) < 1.2 * peak(50) + 50_000  # 500 rows are 6 MB


def test_growing_arrays_save_what_numpy_would(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(k, 2, 3)).astype(np.float32) for k in (1, 0, 4)]
    sides, never = [rng.random(k) < 0.5 for k in (1, 0, 4)], np.zeros((0, 7))
    with GrowingArrays(tmp_path) as growing:
        for part, side in zip(parts, sides, strict=True):
            growing.append({"part": part.transpose(0, 2, 1), "side": side})
        growing.save(
            tmp_path / "ours.npz", ["one", "part", "side", "never"], {"one": np.array(2.5), "never": never}
        )
    joined = np.concatenate([part.transpose(0, 2, 1) for part in parts])
    np.savez_compressed(
        tmp_path / "theirs.npz", one=np.array(2.5), part=joined, side=np.concatenate(sides), never=never
    )
    ours, theirs = np.load(tmp_path / "ours.npz"), np.load(tmp_path / "theirs.npz")
    assert ours.files == theirs.files
    for name in ours.files:
        assert ours[name].dtype == theirs[name].dtype
        assert np.array_equal(ours[name], theirs[name])
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "theirs.npz").read_bytes()


class Crop:
    def __init__(self):
        self.img = np.zeros((3, 1, 1), np.float32)


def empty_or_not(pattern, batch_size):
    """What a batcher gives back, in order, for images with so many crops each."""
    batcher, given = Batcher(batch_size, keep_crops=True), []
    for index, crops in enumerate(pattern):
        job = Job(
            Source(Path("x"), str(index), str(index)), "", (4, 4), None, Detection(()), [Crop()] * crops
        )
        for item in batcher.add(job) if crops else batcher.add_empty(job):
            given.append(item)
    given += batcher.finish()
    return [
        tuple(int(job.source.key) for job in item.jobs) if isinstance(item, Batch) else int(item.source.key)
        for item in given
    ]


@pytest.mark.parametrize(
    ("pattern", "given"),
    [
        ([0, 0], [0, 1]),
        ([1, 0, 1, 0, 0, 1, 0], [(0, 2, 5), 1, 3, 4, 6]),
        ([2, 0, 2, 0], [(0, 0, 2), 1, (2,), 3]),
        ([1, 1, 1, 0, 1], [(0, 1, 2), 3, (4,)]),
    ],
)
def test_frames_without_hands_wait_for_those_before_them(pattern, given):
    assert empty_or_not(pattern, 3) == given


def test_not_too_many_frames_without_hands_wait(monkeypatch):
    monkeypatch.setattr(batching, "MAX_WAITING_EMPTY", 2)
    assert empty_or_not([1, 0, 0, 0, 0, 1], 3) == [(0,), 1, 2, 3, 4, (5,)]


def test_frames_are_brought_into_order(tmp_path):
    pictures = [np.full((48, 64, 3), 40 * index, np.uint8) for index in range(5)]
    path, released = tmp_path / "o.mp4", []
    times_s = [0.0, 0.2, 0.5, 0.6, 1.5]
    with ClipWriter(path, (64, 48)) as writer, GrowingArrays(tmp_path) as rows:
        order = FrameOrder(writer, rows.append, times_s)
        for index in (1, 4, 0, 3):
            found = {"frame_index": np.array([index])}
            order.add(index, pictures[index], found, partial(released.append, index))
        assert writer.frames == 2
        assert released == [0, 1]
        order.add(2)  # lost: the one before is shown again
        assert writer.frames == 5
        assert released == [0, 1, 3, 4]
        writer.finish(2.0)
        rows.save(tmp_path / "r.npz", ["frame_index"], {})
    assert np.load(tmp_path / "r.npz")["frame_index"].tolist() == [0, 1, 3, 4]
    reader = ClipReader(Clip.open(path))
    assert [round(loaded.picture.bgr.mean() / 40) for loaded in reader] == [0, 1, 1, 3, 4]
    assert reader.times_s == pytest.approx(times_s)
    assert reader.end_s == pytest.approx(2.0)


def test_a_writer_refuses_what_the_format_cannot_hold(tmp_path):
    with (
        ClipWriter(tmp_path / "w.mp4", (9000, 2)) as writer,
        pytest.raises(InputError, match="9000 x 2 pixels"),
    ):
        writer.write(np.zeros((2, 9000, 3), np.uint8), 0.0)


@pytest.mark.parametrize("size", [(161, 121), (1, 1), (17, 3)])
def test_odd_sizes_are_kept(tmp_path, size):
    path = write_clip(tmp_path / "odd.mp4", frames=3, size=size)
    assert Clip.open(path).size_px == size
    assert len(frames_of(path)) == 3


def test_a_video_that_was_held_upright_is_shown_upright(program, clip, out):
    """Phones write how they were held into the track's header, for players to turn the pictures."""
    content = bytearray(clip.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, SIZE[1] << 16, 0, 1 << 30)
    content[place : place + 36] = turned
    turned_clip = clip.with_name("turned.mp4")
    turned_clip.write_bytes(content)
    assert run(program, turned_clip, out, "--detector", "whole-image") == 0
    assert np.load(out / "turned.npz")["image_size_px"].tolist() == [SIZE[1], SIZE[0]]
    assert Clip.open(out / "turned.mp4").size_px == (SIZE[1], SIZE[0])


def test_what_libraries_say_about_damaged_videos_is_not_shown(tmp_path):
    (tmp_path / "zero.mp4").write_bytes(bytes(5000))
    code = f"""
from pathlib import Path
from shared_tmu.demo.clips import Clip
from shared_tmu.errors import InputError
try:
    Clip.open(Path({str(tmp_path / "zero.mp4")!r}))
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be opened" in done.stdout
    assert done.stderr == ""


def test_a_very_long_name_and_one_that_is_a_pattern(program, clip, out):
    for name in ("x" * 251 + ".mp4", "100%03d.mp4", "a:b.mp4"):
        other = clip.rename(clip.with_name(name))
        assert run(program, other, out, "--detector", "whole-image", "--no-overlays") == 0
        clip = other
    stems = {path.stem for path in out.glob("*.npz")}
    assert {"100%03d", "a:b"} < stems
    assert len(stems) == 3
