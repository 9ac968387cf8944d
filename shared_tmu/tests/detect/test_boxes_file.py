"""Boxes files: what can be read, in what time, and which numbers can be boxes in pixels."""

import json
import os
import threading

import numpy as np
import pytest

from shared_tmu.detect import boxes_file
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.errors import InputError

PICTURE = np.zeros((480, 640, 3), np.uint8)
GOOD = json.dumps({"a.jpg": [{"box_xyxy": [100, 100, 300, 200], "is_right": True}]})


def problems_of(*box, name="a.jpg"):
    detector = BoxesDetector({"a.jpg": [{"box_xyxy": list(box), "is_right": True}]})
    found = detector.detect(PICTURE, name)
    assert len(found.boxes) + len(found.problems) == 1
    return found.problems


@pytest.mark.parametrize("name", ["a.jpg", "a.jpg:7"])
@pytest.mark.parametrize(
    "box", [(0.31, 0.21, 0.66, 0.75), (0, 0, 1, 1), (0.6, 0.7, 0.2, 0.1), (-0.1, 0, 1.2, 1), (0, 0.2, 1, 0.4)]
)
def test_boxes_in_parts_of_the_image_are_refused(box, name):
    (problem,) = problems_of(*box, name=name)
    assert "numbers from 0 to 1 look like" in problem
    assert "640" in problem
    assert "480" in problem


def test_boxes_of_less_than_two_pixels_are_refused():
    assert "less than 2" in problems_of(100, 100, 101.9, 200)[0]
    assert "less than 2" in problems_of(100, 100, 200, 101)[0]
    assert problems_of(100, 100, 102, 102) == ()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), 10**400, -(10**4000), "3", None]
)
def test_what_is_no_number_is_named(value):
    (problem,) = problems_of(100, 100, value, 200)
    assert "expected four numbers" in problem


def test_percent_are_taken_for_pixels_with_a_warning(caplog):
    entries = {"a.jpg": [{"box_xyxy": [31, 21, 66, 75], "is_right": True}]}
    detector = BoxesDetector(entries)
    assert len(detector.detect(PICTURE[:150], "a.jpg").boxes) == 1  # hands of a small picture
    assert not caplog.text
    for _ in range(3):
        assert len(detector.detect(PICTURE, "a.jpg").boxes) == 1
    assert caplog.text.count("per cent") == 1
    caplog.clear()
    entries["b.jpg"] = [{"box_xyxy": [31, 21, 166, 75], "is_right": True}]
    BoxesDetector(entries).detect(PICTURE, "a.jpg")
    assert not caplog.text


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a.jpg": [' + "[" * 100 + "]" * 100 + "]}",
     '{"a.jpg": [' + '{"x":' * 50 + "1" + "}" * 50 + "]}",
     '{"a.jpg": [], "a.jpg": []}', '{"a.jpg": [' + "9" * 5000 + "]}", "", "\0\0\0"],
    ids=["brackets", "lists", "objects", "twice", "digits", "empty", "zeros"],
)  # fmt: skip
def test_odd_json_is_one_sentence(tmp_path, text):
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"boxes\.json"):
        BoxesDetector.from_file(path)


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/null", "/dev/tty", "/", "{tmp}/" + "x" * 300, "{tmp}/loop"]
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="cannot read the boxes file"):
        BoxesDetector.from_file(tmp_path / path.format(tmp=tmp_path))


def test_endless_files_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "boxes.json"
    path.touch()
    os.truncate(path, 1 << 40)
    monkeypatch.setattr(boxes_file, "MAX_BYTES", 10_000_000)
    with pytest.raises(InputError, match="larger than the limit of 10 MB"):
        BoxesDetector.from_file(path)


def test_a_pipe_is_read_to_its_end_and_does_not_hang(tmp_path, monkeypatch):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    monkeypatch.setattr(boxes_file, "IDLE_S", 0.05)
    with pytest.raises(InputError, match="gave no data"):
        BoxesDetector.from_file(path)
    monkeypatch.setattr(boxes_file, "IDLE_S", 20.0)
    writer = threading.Thread(target=lambda: path.write_text(GOOD))
    writer.start()
    assert BoxesDetector.from_file(path).entries == json.loads(GOOD)
    writer.join()


def right_hand(left):
    return [{"box_xyxy": [left, 100, left + 200, 300], "is_right": True}]


def test_an_entry_is_of_the_image_that_it_names():
    detector = BoxesDetector({"x.jpg": right_hand(0), "y.jpg": right_hand(1), "gone.jpg": []})
    assert detector.assign(["x.jpg", "sub/x.jpg", "sub/y.jpg"]) == ["gone.jpg"]
    found = {name: detector.detect(PICTURE, name).boxes for name in ("x.jpg", "sub/x.jpg", "sub/y.jpg")}
    assert [len(boxes) for boxes in found.values()] == [1, 0, 1]
    assert found["sub/y.jpg"][0].box_xyxy[0] == 1
    with pytest.raises(InputError, match=r"'y\.jpg', which may be 'a/y\.jpg' or 'b/y\.jpg': name each image"):
        detector.assign(["a/y.jpg", "b/y.jpg"])
    both = BoxesDetector({"y.jpg": right_hand(0), "a/y.jpg": right_hand(1)})
    assert both.assign(["a/y.jpg", "b/y.jpg"]) == []


def test_numbers_of_frames_may_have_zeros_in_front():
    detector = BoxesDetector({"clip.mp4:000": right_hand(0), "clip.mp4:012": right_hand(12)})
    assert [len(detector.detect(PICTURE, f"clip.mp4:{frame}").boxes) for frame in (0, 1, 12)] == [1, 0, 1]
    assert detector.frames_named("clip.mp4") == [0, 12]
    assert detector.frames_named("other.mp4") == []
    with pytest.raises(InputError, match=r"'clip\.mp4:7' twice, once as 'clip\.mp4:07'"):
        BoxesDetector({"clip.mp4:7": [], "clip.mp4:07": []})
