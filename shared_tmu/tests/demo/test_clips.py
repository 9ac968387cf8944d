"""Video files: what may be opened, when frames are shown, what is damaged, and how clips are written."""

import struct

import av
import numpy as np
import pytest
from clip_making import LIVE, SIZE, make, read

from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.clips import Clip

FASTSTART = {"container_options": {"movflags": "faststart"}}
"""As browsers record: no duration, no index, a nonsensical frame rate."""
INTACT = [
    ("a.mp4", "mpeg4", {}),
    ("h.mp4", "libx264", FASTSTART),
    ("h.mkv", "libx264", {}),
    ("browser.webm", "libvpx", LIVE),
    ("v9.webm", "libvpx-vp9", {}),
    ("m.avi", "mjpeg", {"pixels": "yuvj420p"}),
    ("h.ts", "libx264", {}),
    ("h.flv", "libx264", {}),
    ("g.gif", "gif", {"pixels": "rgb8"}),
]


@pytest.mark.parametrize(("name", "codec", "how"), INTACT, ids=[row[0] for row in INTACT])
def test_intact_clips_have_all_frames_their_times_and_no_damage(tmp_path, name, codec, how):
    reader, frames = read(make(tmp_path / name, codec, **how))
    assert reader.problems() == []
    assert len(frames) == 20
    assert reader.times_s == pytest.approx(np.arange(20) / 10, abs=0.002)
    assert reader.end_s == pytest.approx(2.0, abs=0.011)
    assert reader.fps == pytest.approx(10, rel=0.01)


def test_uneven_times_are_kept_and_written_again(tmp_path):
    uneven = [0, 40, 66, 106, 133, 1000, 1010, 3000]
    reader, frames = read(make(tmp_path / "v.webm", "libvpx", uneven, **LIVE))
    assert reader.times_s == pytest.approx(np.array(uneven) / 1000)
    with ClipWriter(tmp_path / "o.mp4", SIZE) as writer:
        for frame, at in zip(frames, reader.times_s, strict=True):
            writer.write(frame, at)
        writer.finish(3.5)
    again, drawn = read(tmp_path / "o.mp4")
    assert again.times_s == pytest.approx(reader.times_s, abs=1e-4)
    assert again.end_s == pytest.approx(3.5, abs=1e-4)
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(3.5, abs=1e-3)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, drawn, strict=True)) < 6


def test_a_clip_that_starts_late_starts_at_zero_and_says_when_it_was(tmp_path):
    reader, _ = read(make(tmp_path / "late.mkv", "libx264", range(5000, 6200, 100)))
    assert (reader.times_s[0], reader.start_s) == (0.0, pytest.approx(5.0))
    assert reader.end_s == pytest.approx(1.2, abs=0.01)
    assert reader.problems() == []


@pytest.mark.parametrize(("aspect", "shown"), [("2", (320, 120)), ("1/2", (160, 240)), ("16/15", (171, 120))])
def test_pixels_become_square(tmp_path, aspect, shown):
    assert Clip.open(make(tmp_path / "wide.mp4", "libx264", aspect=aspect)).size_px == shown
    _, frames = read(tmp_path / "wide.mp4")
    assert {frame.shape[1::-1] for frame in frames} == {shown}


TURNS = {
    "half": ((-1, 0, 0, -1), lambda picture: picture[::-1, ::-1]),
    "clockwise": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "against the clock": ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
    "mirrored": ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
}


@pytest.mark.parametrize("turn", TURNS)
def test_frames_are_upright(tmp_path, turn):
    path = make(tmp_path / "plain.mp4")
    _, plain = read(path)
    (a, b, c, d), turned = TURNS[turn]
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    numbers = [value << 16 for value in (a, b, 0, c, d, 0, 0, 0)]
    content[place : place + 36] = struct.pack(">9i", *numbers, 1 << 30)
    path.write_bytes(content)
    _, frames = read(path)
    assert all(np.array_equal(one, turned(other)) for one, other in zip(frames, plain, strict=True))


def test_frames_of_another_size_fit_into_the_first(tmp_path):
    small, large = make(tmp_path / "a.ts", "mpeg4"), tmp_path / "b.ts"
    make(large, "mpeg4", size=(240, 120))
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    reader, frames = read(tmp_path / "both.ts")
    assert len(frames) == 40
    assert {frame.shape for frame in frames} == {(120, 160, 3)}
    assert reader.problems() == []
    assert np.all(np.diff(reader.times_s) > 0)
    assert frames[-1][:15].max() < 9  # black above a wider picture


CUT = [row for row in INTACT if row[0] not in ("a.mp4", "browser.webm")]


@pytest.mark.parametrize(("name", "codec", "how"), CUT, ids=[row[0] for row in CUT])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_clip_that_is_cut_off_gives_what_there_is_and_says_so(tmp_path, name, codec, how, share):
    whole = make(tmp_path / name, codec, **how)
    whole.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    reader, frames = read(whole)
    assert 0 < len(frames) <= 20
    assert len(frames) < 15 or share > 0.5
    assert len(reader.problems()) >= 1
    assert all(problem.startswith(f"{name}: ") for problem in reader.problems())
