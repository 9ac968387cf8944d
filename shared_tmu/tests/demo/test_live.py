"""Cameras and streams: the newest frame each time, dropped ones counted, and whole files at the end."""

import json
import os
import pty
import signal
import sys
import time

import numpy as np
import pytest
from clip_runs import frames_of
from toy_demo import results, write_boxes

from shared_tmu.demo import live, main
from shared_tmu.demo.live import LiveClip, LiveReader, name_of, parse_address
from shared_tmu.demo.options import parse_options
from shared_tmu.errors import InputError

SIZE = (160, 120)
HANDS = [{"box_xyxy": [30, 20, 70, 70], "is_right": True}]


class Capture:
    """A camera whose frames, one each few milliseconds, are as bright as their number.

    Args:
        frames: how many it gives.
        step_s: time between them.
        then: called when it has given thirty.
    """

    def __init__(self, frames=10**9, step_s=0.004, then=lambda: None):
        self.frames, self.step_s, self.given, self.is_released = frames, step_s, 0, False
        self.then = then

    def read(self):
        assert not self.is_released
        time.sleep(self.step_s)
        if self.given >= self.frames:
            return False, None
        self.given += 1
        if self.given == 30:
            self.then()
        return True, np.full((SIZE[1], SIZE[0], 3), self.given % 256, np.uint8)

    def release(self):
        self.is_released = True


def run(program, out, tmp_path, *flags):
    boxes = write_boxes(tmp_path / "boxes.json", {"camera_0": HANDS})
    arguments = ["--camera", "0", "--out_folder", out, "--device", "cpu", "--r", "4x3", "--boxes", boxes]
    arguments += ["--draw_processes", "0"]
    return main(program, [str(word) for word in (*arguments, *flags)])


@pytest.fixture
def camera(monkeypatch):
    """Sets the camera that the demo opens."""

    def give(capture):
        monkeypatch.setattr(live, "open_capture", lambda address: capture)
        return capture

    return give


def test_the_newest_frame_is_taken_and_the_others_are_counted():
    capture = Capture(frames=40, step_s=0.02)
    reader, numbers = LiveReader(LiveClip(0, capture)), []
    for loaded in reader:
        there = capture.given
        number = int(loaded.picture.bgr[0, 0, 0])
        assert there - number <= 2  # one may come while this one is handed over
        numbers.append(number)
        reader.done(len(numbers) - 1)
        time.sleep(0.1)
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 20
    assert capture.is_released
    assert reader.dropped + len(numbers) in (38, 39)  # one told the size; one may be grabbed at the end
    steps = np.diff(reader.times_s)
    assert (steps > 0).all()
    assert reader.times_s[0] == 0 < reader.times_s[-1] < reader.end_s
    rows = dict(reader.rows())
    assert rows["frames dropped"].startswith(f"{reader.dropped} of ")
    assert " ms from grabbing to saving (95 % below " in rows["latency"]


def test_a_stream_that_ends_leaves_whole_files(program, camera, out, tmp_path, capsys):
    capture = camera(Capture(frames=40))
    assert run(program, out, tmp_path) == 0
    saved, about = np.load(out / "camera_0.npz"), json.loads((out / "camera_0.json").read_text())
    taken = len(saved["frame_time_s"])
    assert taken + about["frames_dropped"] in (38, 39)
    assert saved["frame_index"].tolist() == list(range(taken))
    assert saved["track_id"][0] == 0
    assert len(frames_of(out / "camera_0.mp4")) == taken
    assert about["video"] == "camera_0"
    assert capture.is_released
    text = capsys.readouterr().out
    assert "frames dropped" in text
    assert "ms from grabbing to saving" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_whole_files(program, camera, out, tmp_path, number):
    capture = camera(Capture(then=lambda: os.kill(os.getpid(), number)))
    before = signal.getsignal(number)
    assert run(program, out, tmp_path) == 0
    assert capture.is_released
    taken = len(np.load(out / "camera_0.npz")["frame_time_s"])
    assert len(frames_of(out / "camera_0.mp4")) == taken >= 1
    assert {"camera_0.json", "camera_0.mp4", "camera_0.npz", "camera_0_track_0.csv"} <= set(results(out))
    assert signal.getsignal(number) == before


def test_q_in_the_terminal_ends_it(program, camera, out, tmp_path, monkeypatch):
    ours, theirs = pty.openpty()
    camera(Capture(then=lambda: os.write(ours, b"xq")))
    with os.fdopen(theirs, "rb", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert run(program, out, tmp_path, "--no-overlays") == 0
    os.close(ours)
    assert len(np.load(out / "camera_0.npz")["frame_time_s"]) >= 1


def test_following_and_smoothing_work_live(program, camera, out, tmp_path):
    camera(Capture(frames=60))
    flags = ("--track", "--mask", "previous", "--batch_size", 4)
    assert run(program, out, tmp_path, "--no-overlays", *flags) == 0
    saved = np.load(out / "camera_0.npz")
    assert len(saved["track_id"]) == len(saved["frame_time_s"])


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("0", 0, "camera_0"),
        ("/dev/video2", 2, "camera_2"),
        (
            "rtsp://user:secret@10.0.0.5:554/live/ch0",
            "rtsp://user:secret@10.0.0.5:554/live/ch0",
            "10_0_0_5_554_live_ch0",
        ),
        ("http://host/a.m3u8?key=secret", "http://host/a.m3u8?key=secret", "host_a_m3u8_0b60ff"),
    ],
)
def test_addresses_and_names_without_what_is_secret(text, address, name):
    assert parse_address(text) == address
    assert name_of(address) == name


def test_different_streams_have_different_names():
    addresses = ["rtsp://h/a?channel=1", "rtsp://h/a?channel=2", "rtsp://h/a", "rtsp://h:8554/a"]
    assert len({name_of(address) for address in addresses}) == 4


@pytest.mark.parametrize("text", ["rtsp://user:pa/ss@host/a", "rtsp://[::1/a", "rtsp://host:99999/a"])
def test_an_address_without_a_host_and_port_is_refused_without_its_secret(text):
    with pytest.raises(InputError, match="host or port cannot be read") as caught:
        parse_address(text)
    assert "pa" not in str(caught.value).replace("password", "").replace("path", "")


@pytest.mark.parametrize("text", ["clip.mp4", "", "-1", "file:///srv/clip.mp4", "camera"])
def test_what_is_no_camera_is_refused(text):
    with pytest.raises(InputError, match="for a file use --video"):
        parse_address(text)


def test_what_gives_no_frame_is_said_before_any_work(program, camera, out, tmp_path, caplog):
    capture = camera(Capture(frames=0))
    assert run(program, out, tmp_path) == 1
    assert "was opened, but gives no frame" in caplog.text
    assert capture.is_released
    assert not out.exists()


def test_a_camera_that_is_not_there_is_said(program, out, tmp_path, caplog):
    assert run(program, out, tmp_path, "--camera", "97") == 1
    assert "--camera camera_97 cannot be opened: there is no such camera" in caplog.text


def test_flags_that_do_not_fit_a_camera(program):
    with pytest.raises(InputError, match="--resume continues"):
        parse_options(program, ["--camera", "0", "--resume"])
    with pytest.raises(InputError, match="--video or --camera"):
        parse_options(program, ["--camera", "0", "--save_mesh"])
    with pytest.raises(SystemExit):
        parse_options(program, ["--camera", "0", "--video", "clip.mp4"])
