"""The overlay video has the clip's sound, in step with the pictures, packet by packet."""

from fractions import Fraction

import av
import numpy as np
import pytest
from clip_runs import frames_of, run, write_clip
from toy_demo import write_boxes

from shared_tmu.demo.clip_writer import BT_601, LIMITED

RATE = 44100


def with_sound(path, codec="aac", starts_s=0.0, late_s=0.0, **how):
    """A clip of 16 frames at 10 per second with two seconds of a tone; everything starts at `starts_s`, and
    the pictures later still."""
    with av.open(str(path), "w", **how) as container:
        pictures, sound = container.add_stream("mpeg4", rate=10), container.add_stream(codec, rate=RATE)
        pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
        sound.layout = "mono"
        tone = np.sin(np.arange(2 * RATE) / 20).astype(np.float32)
        wanted = sound.codec_context.format or av.AudioFormat("fltp")
        resampler = av.AudioResampler(format=wanted.name, layout="mono", rate=RATE, frame_size=1024)
        for index in range(16):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 10 * index, np.uint8), "bgr24")
            frame.pts, frame.time_base = index + round(10 * (starts_s + late_s)), Fraction(1, 10)
            container.mux(pictures.encode(frame))
        frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, round(starts_s * RATE), Fraction(1, RATE)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(sound.encode(part))
        container.mux(pictures.encode())
        container.mux(sound.encode())
    return path


def sound_of(path):
    """Times and contents of the packets of its sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def colours_of(path):
    """What a video says about the matrix and the range of its colours."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.colorspace, frame.color_range


@pytest.fixture
def boxes(tmp_path):
    return write_boxes(tmp_path / "b.json", {})


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "aac"), ("a.mp4", "mp3"), ("a.mkv", "ac3")]
)
def test_sound_is_copied_as_it_is(program, tmp_path, out, boxes, name, codec):
    clip = with_sound(tmp_path / name, codec)
    assert run(program, clip, out, "--draw_processes", 0, boxes=boxes) == 0
    before, after = sound_of(clip), sound_of(out / "a.mp4")
    contents = [content for _, content in before]
    kept = [content for _, content in after]
    assert kept == contents[contents.index(kept[0]) :][: len(kept)]
    assert after[-1][0] == pytest.approx(1.6, abs=0.06)  # the pictures end there
    assert len(frames_of(out / "a.mp4")) == 16
    assert colours_of(out / "a.mp4") == (BT_601, LIMITED)


@pytest.mark.parametrize("late_s", [0.0, 0.3])
def test_it_stays_in_step_with_a_clip_that_starts_late(program, tmp_path, out, boxes, late_s):
    clip = with_sound(tmp_path / "a.mkv", "aac", starts_s=2.0, late_s=late_s)
    assert run(program, clip, out, "--draw_processes", 0, boxes=boxes) == 0
    times = {content: at for at, content in sound_of(clip)}
    steps = [times[content] - at for at, content in sound_of(out / "a.mp4")]
    np.testing.assert_allclose(steps, 2.0 + late_s, atol=0.03)  # when the first frame is shown
    assert np.ptp(steps) < 0.002


def test_sound_that_an_mp4_cannot_hold_is_left_out(program, tmp_path, out, boxes, caplog):
    caplog.set_level("INFO")
    clip = with_sound(tmp_path / "a.mkv", "pcm_s16le")
    assert run(program, clip, out, "--draw_processes", 0, boxes=boxes) == 0
    assert "its sound (pcm_s16le) is not copied" in caplog.text
    with av.open(str(out / "a.mp4")) as container:
        assert not container.streams.audio


def test_a_clip_without_sound_has_none(program, tmp_path, out, boxes):
    assert run(program, write_clip(tmp_path / "in" / "a.mp4"), out, boxes=boxes) == 0
    assert colours_of(out / "a.mp4") == (BT_601, LIMITED)
    with av.open(str(out / "a.mp4")) as container:
        assert not container.streams.audio
