"""People: found in views of a picture, confirmed close up, told apart; YOLO's and a user's boxes."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from shared_tmu.detect import PersonBox
from shared_tmu.detect.mediapipe_people import MediaPipePeople, PersonView, overlap_of_smaller
from shared_tmu.detect.people import choose_people_detector, make_people_detector
from shared_tmu.detect.yolo import load_yolo
from shared_tmu.errors import CheckpointError, InputError, MissingAssetError, MissingDependencyError

IMAGE = np.zeros((600, 800, 3), np.uint8)
SAMPLE = sorted((Path(__file__).parents[3] / "assets" / "samples_people").glob("*.jpg"))[0]


def standing(x: float, y: float, height: float, visibility: float = 0.9) -> PersonView:
    """33 landmarks of somebody whose nose is at (x, y)."""
    points = np.zeros((33, 2))
    points[:11] = (x, y)
    points[11:13] = [(x + 0.12 * height, y + 0.12 * height), (x - 0.12 * height, y + 0.12 * height)]
    points[13:23] = (x, y + 0.3 * height)
    points[23:25] = [(x + 0.08 * height, y + 0.45 * height), (x - 0.08 * height, y + 0.45 * height)]
    points[25:] = (x, y + 0.9 * height)
    return PersonView(points, np.full(33, visibility))


class FakeGraph:
    """Sees the first of some people who is wholly in view, large enough, and not painted over."""

    def __init__(self, people, close_up=True):
        self.people, self.close_up, self.runs = people, close_up, 0

    def run(self, tile):
        self.runs += 1
        height, width = tile.pixels.shape[:2]
        window = (
            *tile.origin_px,
            tile.origin_px[0] + width * tile.scale[0],
            tile.origin_px[1] + height * tile.scale[1],
        )
        is_close = window[2] - window[0] < 0.9 * IMAGE.shape[1] and min(window[:2]) != 0
        for person in self.people:
            low, high = person.points_px.min(0), person.points_px.max(0)
            if (low < window[:2]).any() or (high > window[2:]).any() or (is_close and not self.close_up):
                continue
            x, y = ((person.points_px[0] - tile.origin_px) / tile.scale).round().astype(int)
            if tile.pixels[min(y, height - 1), min(x, width - 1)].max() == 0:
                return person
        return None


def detector_with(graph) -> MediaPipePeople:
    detector = MediaPipePeople.__new__(MediaPipePeople)
    detector._graph = graph
    return detector


def test_everybody_is_found_once_largest_first():
    people = [standing(200, 100, 300), standing(550, 80, 420)]
    found = detector_with(FakeGraph(people)).detect(IMAGE, "x").boxes
    assert len(found) == 2
    assert found[0].box_xyxy[0] > 400
    for box, person in zip(found, reversed(people), strict=True):
        low, high = person.points_px.min(0), person.points_px.max(0)
        assert box.box_xyxy[0] < low[0]
        assert box.box_xyxy[1] < low[1] - 0.1 * np.ptp(person.points_px[:, 1])  # the head above the nose
        assert box.box_xyxy[2] > high[0]
        assert box.score == pytest.approx(0.9)


def test_what_is_not_seen_again_close_up_is_nobody():
    graph = FakeGraph([standing(300, 100, 300)], close_up=False)
    assert detector_with(graph).detect(IMAGE, "x").boxes == ()


def test_hardly_visible_and_tiny_people_are_left_out():
    for person in (standing(300, 100, 300, visibility=0.3), standing(300, 100, 12)):
        assert detector_with(FakeGraph([person])).detect(IMAGE, "x").boxes == ()


def test_boxes_stay_in_the_picture():
    (box,) = detector_with(FakeGraph([standing(60, 30, 500)])).detect(IMAGE, "x").boxes
    x1, y1, x2, y2 = box.box_xyxy
    assert min(x1, y1) >= 0
    assert x2 <= 799
    assert y2 <= 599


def test_overlap():
    assert overlap_of_smaller((0, 0, 10, 10), (2, 2, 4, 4)) == 1.0
    assert overlap_of_smaller((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(0.5)
    assert overlap_of_smaller((0, 0, 10, 10), (20, 20, 30, 30)) == 0.0


def test_the_real_model_finds_nobody_in_noise():
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    assert make_people_detector("mediapipe", None).detect(noise, "x").boxes == ()


def test_yolo_boxes_become_people(tmp_path, monkeypatch):
    found = SimpleNamespace(
        xyxy=torch.tensor([[1.0, 2, 30, 40], [50, 5, 40, 9], [0, 0, 9, 9]]),
        cls=torch.tensor([0.0, 0.0, 2.0]),
        conf=torch.tensor([0.75, 0.5, 0.9]),
    )

    class YOLO:
        names = ("person", "bicycle", "car")

        def __init__(self, path):
            assert path.endswith("yolov8x.pt")

        def predict(self, image, **options):
            assert (options["conf"], options["iou"], options["classes"]) == (0.5, 0.5, [0])
            return [SimpleNamespace(boxes=found)]

    with pytest.raises(MissingAssetError, match=r"yolov8x\.pt"):
        make_people_detector("yolo", tmp_path)
    assert choose_people_detector(tmp_path, None) == "mediapipe"
    (tmp_path / "yolov8x.pt").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(MissingDependencyError, match="ultralytics"):
        make_people_detector("yolo", tmp_path)
    package = ModuleType("ultralytics")
    package.YOLO = YOLO
    monkeypatch.setitem(sys.modules, "ultralytics", package)
    monkeypatch.setattr("shared_tmu.detect.people.find_spec", lambda name: name)
    assert choose_people_detector(tmp_path, None) == "yolo"
    detection = make_people_detector("auto", tmp_path).detect(IMAGE, "x")
    assert detection.boxes == (PersonBox((1, 2, 30, 40), 0.75),)
    assert "upside down" in detection.problems[0]
    YOLO.names = ("hand", "face")
    with pytest.raises(CheckpointError, match=r"'person' first, but the file has 2 \(hand, face\)"):
        make_people_detector("yolo", tmp_path)


def test_boxes_of_people_need_no_side(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(
        json.dumps({"a.jpg": [{"box_xyxy": [1, 2, 30, 40]}, {"box_xyxy": [3, 4], "score": 1}, 7]})
    )
    assert choose_people_detector(tmp_path, path) == "boxes"
    found = make_people_detector("boxes", tmp_path, path).detect(IMAGE, "sub/a.jpg")
    assert found.boxes == (PersonBox((1, 2, 30, 40), 1.0),)
    assert "four finite numbers" in found.problems[0]
    assert "expected an object with 'box_xyxy'" in found.problems[1]
    path.write_text("[]")
    with pytest.raises(
        InputError, match=r"expected \{.photo\.jpg.: \[\{.box_xyxy.: \[x1, y1, x2, y2\]\}\]\}"
    ):
        make_people_detector("boxes", tmp_path, path)


def test_a_person_may_fill_the_picture():
    (box,) = make_people_detector("whole-image", None).detect(IMAGE, "x").boxes
    assert box == PersonBox((0.0, 0.0, 799.0, 599.0))


def test_boxes_and_detector_must_agree(tmp_path):
    with pytest.raises(InputError, match="--boxes FILE"):
        make_people_detector("boxes", tmp_path)
    with pytest.raises(InputError, match="not used by --detector mediapipe"):
        make_people_detector("mediapipe", tmp_path, boxes=tmp_path / "b.json")
    with pytest.raises(InputError, match="unknown person detector 'vitdet'"):
        make_people_detector("vitdet", tmp_path)


FAKE_YOLO = """
import os
from pathlib import Path

def flag(name):
    return os.environ.get(name, "").lower() == "true"

ONLINE = not flag("YOLO_OFFLINE")
AUTOINSTALL = os.environ.get("YOLO_AUTOINSTALL", "true").lower() == "true"
CONFIG = Path(os.environ.get("YOLO_CONFIG_DIR", Path.home()))
(CONFIG / "settings.json").write_text("{}")
"""


@pytest.mark.parametrize("was_imported", [False, True])
def test_ultralytics_is_offline_and_leaves_the_users_settings_alone(tmp_path, monkeypatch, was_imported):
    utils = tmp_path / "ultralytics" / "utils"
    utils.mkdir(parents=True)
    (utils / "__init__.py").write_text(FAKE_YOLO)
    (utils / "events.py").write_text(
        "from ultralytics.utils import ONLINE\nclass Events: enabled = ONLINE\nevents = Events()\n"
    )
    (utils.parent / "__init__.py").write_text("from ultralytics.utils.events import events\nYOLO = str\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "yolov8x.pt").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", "YOLO_CONFIG_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)
    try:
        if was_imported:
            import_module("ultralytics")
            (tmp_path / "home" / "settings.json").unlink()
        load_yolo(tmp_path / "yolov8x.pt", "a detector")
        seen = sys.modules["ultralytics.utils"]
        assert (seen.ONLINE, seen.AUTOINSTALL) == (False, False)
        assert sys.modules["ultralytics.utils.events"].events.enabled is False
        assert list((tmp_path / "home").iterdir()) == []
        assert "YOLO_CONFIG_DIR" not in os.environ
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "ultralytics"]:
            del sys.modules[name]


def test_people_are_segmented_where_their_box_is_and_as_they_are_found_without():
    image = cv2.imread(str(SAMPLE))
    plain = MediaPipePeople().detect(image, "").boxes
    found = MediaPipePeople(segments=True).detect(image, "").boxes
    assert plain == found
    for box, other in zip(found, plain, strict=True):
        assert other.silhouette is None
        np.testing.assert_array_equal(box.landmarks_px, other.landmarks_px)
        rows, columns = np.nonzero(box.silhouette.mask)
        shown = np.column_stack((columns, rows, np.ones(len(rows)))) @ box.silhouette.to_picture.T
        x1, y1, x2, y2 = box.box_xyxy
        inside = (shown >= (x1, y1)).all(1) & (shown <= (x2, y2)).all(1)
        assert inside.mean() > 0.8
