"""Detectors: boxes files, views of one hand, tiles, what is missing, MediaPipe on empty pictures."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu.detect import HandBox, choose_detector, make_detector
from shared_tmu.detect.base import check_box, valid_boxes
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.detect.landmarks import HandView, group_views, looks_like_a_hand, overlap
from shared_tmu.detect.mediapipe_hands import MediaPipeDetector, _left_is_darker
from shared_tmu.detect.tiles import cut, tile_windows
from shared_tmu.detect.vitdet import VitDetDetector, hands_from_keypoints
from shared_tmu.errors import InputError, MissingAssetError, MissingDependencyError
from shared_tmu.images import read_image

SAMPLES = Path(__file__).resolve().parents[2] / "assets" / "samples"
IMAGE = np.zeros((100, 200, 3), np.uint8)
HAND = np.array(
    [[0, 0], [8, -4], [14, -10], [18, -16], [22, -20], [8, -30], [9, -42], [10, -50], [10, -57], [0, -32],
     [0, -46], [0, -55], [0, -63], [-7, -30], [-8, -43], [-9, -51], [-9, -58], [-13, -26], [-16, -35],
     [-18, -41], [-19, -46]],
    float,
)  # fmt: skip


@pytest.mark.parametrize(
    ("box", "reason"),
    [([10, 10, 5, 20], "upside down"), ([10, 30, 20, 20], "upside down"), ([10, 10, 10, 20], "empty"),
     ([300, 10, 320, 20], "outside the image of 200 x 100"), ([-30, 10, -2, 20], "outside"),
     ([0, 0, float("nan"), 5], "finite"), ([0, 0, 5], "four")],
)  # fmt: skip
def test_unusable_boxes_say_why(box, reason):
    with pytest.raises(InputError, match=reason):
        check_box(box, 200, 100)


def test_boxes_may_reach_over_the_border():
    assert check_box([-5, -5, 10, 10], 200, 100) == (-5, -5, 10, 10)
    detection = valid_boxes([HandBox((0, 0, 5, 5), True), HandBox((5, 5, 0, 0), True)], IMAGE)
    assert (len(detection.boxes), len(detection.problems)) == (1, 1)


def test_a_boxes_file_gives_its_boxes_and_a_sentence_for_each_bad_one(tmp_path):
    entries = [
        {"box_xyxy": [1, 2, 30, 40], "is_right": True},
        {"box_xyxy": [30, 40, 1, 2], "is_right": True},
        {"box_xyxy": [1, 2, 30, 40]},
        {"box_xyxy": [1, 2, 30, "x"], "is_right": False},
        {"box_xyxy": [1, 2, 30, 40], "is_right": "yes"},
        {"box_xyxy": [1, 2, 30, 40], "is_right": False, "score": 2},
        "nonsense",
        {"box_xyxy": [1, 2, 30.5, 40], "is_right": 0, "score": 0.25},
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"a.jpg": entries}))
    detector = BoxesDetector.from_file(path)
    found = detector.detect(IMAGE, "a.jpg")
    assert found.boxes == (HandBox((1, 2, 30, 40), True, 1.0), HandBox((1, 2, 30.5, 40), False, 0.25))
    assert len(found.problems) == 6
    assert all(f"box {i} " in text for i, text in zip((1, 2, 3, 4, 5, 6), found.problems, strict=True))
    assert detector.detect(IMAGE, "other.jpg").boxes == ()


@pytest.mark.parametrize("text", ["not json", "[]", '{"a.jpg": 3}', "\udcff"])
def test_what_is_no_boxes_file_says_what_one_looks_like(tmp_path, text):
    path = tmp_path / "boxes.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="box_xyxy"):
        BoxesDetector.from_file(path)
    with pytest.raises(InputError, match="cannot read"):
        BoxesDetector.from_file(tmp_path / "missing.json")


@given(st.integers(2, 3000), st.integers(2, 3000), st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_tiles_cover_the_image_inside_it_and_mirror(width, height, levels):
    windows = tile_windows(width, height, levels)
    for x0, y0, x1, y1 in windows:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    if min(width, height) > 40:
        assert len(windows) == sum(level**2 for level in levels)
        assert min(w[0] for w in windows) == 0
        assert max(w[2] for w in windows) == width
        mirrored = {(width - w[2], w[1], width - w[0], w[3]) for w in windows}
        assert all(
            min(abs(a[0] - b[0]) + abs(a[2] - b[2]) for b in mirrored if a[1] == b[1]) <= 2 for a in windows
        )


@pytest.mark.parametrize("window", [(20, 10, 120, 60), (-40, -40, 240, 140), (150, 50, 260, 160)])
@pytest.mark.parametrize("shown_px", [512, 37])
def test_a_point_in_a_tile_is_found_in_the_image(window, shown_px):
    image = np.zeros((100, 200, 3), np.uint8)
    image[52:60, 160:168] = 255
    tile = cut(image, window, shown_px)
    rows, columns = np.nonzero(tile.pixels[:, :, 0] > 100)
    if window[2] <= 160:
        assert len(rows) == 0
        return
    height, width = tile.pixels.shape[:2]
    centre = np.array([[(columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height]])
    assert np.allclose(tile.to_image(centre), [[164, 56]], atol=2.5)


def test_views_of_one_hand_are_grouped():
    near, far = HAND + 3, HAND + np.array([200, 0])
    groups = group_views([HandView(HAND, 0.9), HandView(far, -0.8), HandView(near, 0.7)])
    assert [len(group.views) for group in groups] == [2, 1]
    assert groups[0].right == pytest.approx(1.6)
    assert np.allclose(groups[0].points_px, HAND + 1.5)
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == (pytest.approx(1 / 3), 0.5)
    assert overlap((0, 0, 1, 1), (2, 0, 3, 1)) == (0, 0)


def test_shapes_that_are_no_hands():
    assert looks_like_a_hand(HAND)
    assert not looks_like_a_hand(np.zeros((21, 2)))
    stretched = HAND.copy()
    stretched[8] = [500, 500]
    assert not looks_like_a_hand(stretched)


class FakeGraph:
    """Reports one right hand at a fixed place of the picture whenever a tile shows it at a usable size."""

    def __init__(self, image_points, true_hand=True):
        self.points, self.true_hand, self.calls = image_points, true_hand, 0

    def run(self, tile, is_mirrored=False, quarter_turns=0):
        self.calls += 1
        height, width = tile.pixels.shape[:2]
        shown = (self.points - tile.origin_px) / tile.scale
        inside = (shown.min() >= 0) and (shown[:, 0].max() < width) and (shown[:, 1].max() < height)
        if not inside or np.ptp(shown, axis=0).max() < 0.15 * max(width, height):
            return []
        if not self.true_hand and self.calls > 1:
            return []
        return [HandView(self.points, 0.9)]


def detector_with(graph):
    detector = MediaPipeDetector.__new__(MediaPipeDetector)
    detector._graph = graph
    return detector


def test_a_hand_seen_again_is_reported_and_a_chance_sighting_is_not():
    image = np.zeros((400, 600, 3), np.uint8)
    image[:, :200] = 200  # left half brighter: looked at as it is
    points = HAND + np.array([300, 200])
    (hand,) = detector_with(FakeGraph(points)).detect(image, "x").boxes
    assert hand.is_right
    assert hand.box_xyxy == (281, 137, 322, 200)
    assert 0.8 < hand.score <= 1
    large = 5 * HAND + np.array([300, 380])
    assert detector_with(FakeGraph(large, true_hand=False)).detect(image, "x").boxes == ()
    mirrored = np.ascontiguousarray(
        image[:, ::-1]
    )  # looked at mirrored, so the graph sees the very same picture
    (other,) = detector_with(FakeGraph(points)).detect(mirrored, "x").boxes
    assert other == HandBox((599 - 322, 137, 599 - 281, 200), False, hand.score)


@given(st.integers(0, 10_000))
def test_a_picture_and_its_mirror_are_looked_at_the_same_way(seed):
    image = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    assert _left_is_darker(image) != _left_is_darker(image[:, ::-1])


@pytest.fixture(scope="module")
def mediapipe_detector():
    return make_detector("mediapipe", None)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5), (240, 320)])
def test_mediapipe_finds_nothing_where_nothing_is(mediapipe_detector, size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert mediapipe_detector.detect(noise, "x").boxes == ()


@pytest.mark.parametrize("name", ["synthhand_3_right.jpg", "synthhand_4_left.jpg"])
def test_mediapipe_finds_the_hands_of_the_samples_and_of_their_mirror_images(mediapipe_detector, name):
    image = read_image(SAMPLES / name).bgr
    (hand,) = mediapipe_detector.detect(image, name).boxes
    assert hand.is_right == ("right" in name)
    x1, y1, x2, y2 = hand.box_xyxy
    assert 60 < x2 - x1 < 200
    assert 60 < y2 - y1 < 250
    width = image.shape[1]
    (other,) = mediapipe_detector.detect(np.ascontiguousarray(image[:, ::-1]), name).boxes
    assert other.is_right != hand.is_right
    assert np.allclose(other.box_xyxy, [width - 1 - x2, y1, width - 1 - x1, y2], atol=1e-9)
    assert mediapipe_detector.detect(image, name).boxes == (hand,)  # whatever was seen in between


def test_mediapipe_is_silent(capfd, mediapipe_detector):
    make_detector("mediapipe", None).detect(np.full((50, 60, 3), 90, np.uint8), "x")
    assert capfd.readouterr().err == ""


def test_whole_image():
    (hand,) = make_detector("whole-image", None).detect(IMAGE, "x").boxes
    assert hand == HandBox((0, 0, 199, 99), True, 1.0)
    assert (
        valid_boxes(make_detector("whole-image", None).detect(IMAGE[:1, :1], "x").boxes, IMAGE).problems == ()
    )


def test_missing_files_and_packages_are_named(tmp_path, monkeypatch, caplog):
    with pytest.raises(MissingAssetError, match=r"detector\.pt"):
        make_detector("yolo", tmp_path)
    with pytest.raises(MissingAssetError, match=r"model_final_f05665\.pkl, wholebody\.pth, ViTPose_huge"):
        make_detector("vitdet", tmp_path)
    with pytest.raises(MissingAssetError, match=r"model_final_ef3a80\.pkl"):
        make_detector("vitdet", tmp_path, body_detector="regnety")
    assert choose_detector(tmp_path, None) == "mediapipe"
    for name in (
        "detector.pt",
        "model_final_f05665.pkl",
        "wholebody.pth",
        "ViTPose_huge_wholebody_256x192.py",
    ):
        (tmp_path / name).write_bytes(b"x")
    for package in ("ultralytics", "detectron2", "mmpose"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shared_tmu.detect.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="ultralytics"):
        make_detector("yolo", tmp_path)
    with pytest.raises(MissingDependencyError, match="detectron2"):
        make_detector("vitdet", tmp_path)
    assert choose_detector(tmp_path, None) == "mediapipe"
    assert "ultralytics" in caplog.text
    assert "detectron2 and mmpose" in caplog.text
    monkeypatch.setattr("shared_tmu.detect.find_spec", lambda name: None if name == "ultralytics" else name)
    assert choose_detector(tmp_path, None) == "vitdet"
    assert choose_detector(tmp_path, tmp_path / "boxes.json") == "boxes"


def test_a_missing_mediapipe_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(MissingDependencyError, match=r"shared_tmu\[detect\]"):
        make_detector("mediapipe", None)


def test_boxes_and_detector_must_agree(tmp_path):
    with pytest.raises(InputError, match="--boxes FILE"):
        make_detector("boxes", tmp_path)
    with pytest.raises(InputError, match="not used by --detector mediapipe"):
        make_detector("mediapipe", tmp_path, boxes=tmp_path / "b.json")
    with pytest.raises(InputError, match="whole-image"):
        make_detector("nothing", tmp_path)


def test_yolo_boxes_become_hands(tmp_path, monkeypatch):
    found = SimpleNamespace(
        xyxy=torch.tensor([[1.0, 2, 30, 40], [50, 5, 40, 9]]),
        cls=torch.tensor([1.0, 0.0]),
        conf=torch.tensor([0.75, 0.5]),
    )

    class YOLO:
        def __init__(self, path):
            assert path.endswith("detector.pt")

        def predict(self, image, **options):
            assert options["conf"] == 0.3
            return [SimpleNamespace(boxes=found)]

    package = ModuleType("ultralytics")
    package.YOLO = YOLO
    monkeypatch.setitem(sys.modules, "ultralytics", package)
    (tmp_path / "detector.pt").write_bytes(b"x")
    detection = make_detector("yolo", tmp_path).detect(IMAGE, "x")
    assert detection.boxes == (HandBox((1, 2, 30, 40), True, 0.75),)
    assert "upside down" in detection.problems[0]


def test_hands_from_whole_body_keypoints():
    keypoints = np.zeros((133, 3))
    keypoints[-42:-38] = [[10, 20, 0.9], [30, 25, 0.8], [15, 60, 0.7], [12, 30, 0.6]]
    keypoints[-21:-18] = [[100, 20, 0.9]] * 3  # three sure points are too few
    keypoints[-10] = [500, 500, 0.4]
    (hand,) = hands_from_keypoints(keypoints)
    assert hand == HandBox((10, 20, 30, 60), False, pytest.approx(0.75))


def test_vitdet_asks_for_the_hands_of_sure_people_only(monkeypatch):
    keypoints = np.zeros((133, 3))
    keypoints[-21:-16] = [[10, 20, 0.9], [30, 25, 0.8], [15, 60, 0.7], [12, 30, 0.6], [20, 30, 0.75]]
    asked = []

    def inference_top_down_pose_model(model, image, person_results, format):
        asked.extend(person["bbox"].tolist() for person in person_results)
        return [{"keypoints": keypoints} for _ in person_results], None

    apis = ModuleType("mmpose.apis")
    apis.inference_top_down_pose_model = inference_top_down_pose_model
    monkeypatch.setitem(sys.modules, "mmpose", ModuleType("mmpose"))
    monkeypatch.setitem(sys.modules, "mmpose.apis", apis)
    boxes = torch.tensor([[0.0, 0, 50, 90], [1, 1, 60, 80], [2, 2, 9, 9]])
    people = SimpleNamespace(
        pred_classes=torch.tensor([0, 0, 5]),
        scores=torch.tensor([0.9, 0.4, 0.9]),
        pred_boxes=SimpleNamespace(tensor=boxes),
    )
    detector = VitDetDetector.__new__(VitDetDetector)
    detector._pose, detector._body = None, lambda image: {"instances": people}
    (hand,) = detector.detect(IMAGE, "x").boxes
    assert hand == HandBox((10, 20, 30, 60), True, pytest.approx(0.75))
    assert asked == [[0.0, 0.0, 50.0, 90.0, pytest.approx(0.9)]]
    people.scores[0] = 0.1
    assert detector.detect(IMAGE, "x").boxes == ()
