"""The detector that is always there, on pictures."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from views import HAND, IMAGE, SAMPLES

from shared_tmu.detect import HandBox, choose_detector, make_detector
from shared_tmu.detect.base import valid_boxes
from shared_tmu.detect.close_looks import Candidate
from shared_tmu.detect.landmarks import HandView
from shared_tmu.detect.mediapipe_hands import MediaPipeDetector, _is_same, _left_is_darker
from shared_tmu.detect.vitdet import VitDetDetector, hands_from_keypoints
from shared_tmu.errors import CheckpointError, InputError, MissingAssetError, MissingDependencyError
from shared_tmu.pictures.images import read_image


def candidate(points, right=0.9):
    return Candidate((HandView(points, right),), 1, 0.9)


def test_of_two_hands_in_one_place_the_better_stays_unless_they_are_left_and_right():
    hand = 5 * HAND
    assert _is_same(candidate(hand + 4), candidate(hand))
    assert _is_same(candidate(HAND + np.array([0, -200])), candidate(hand))  # a finger tip taken for a hand
    inside = 3 * HAND + [0, -60]
    assert not _is_same(candidate(inside, -0.9), candidate(hand))
    assert not _is_same(candidate(hand + np.array([400, 0])), candidate(hand))


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
        names = ("left", "right")

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
    wrong = ((["hand"], r"1 \(hand\)"), (["Right_hand", "Left_hand"], r"2 \(Right_hand, Left_hand\)"))
    for names, told in (*wrong, (list("abcdef"), r"6 \(a, b, c, \.\.\.\)")):
        YOLO.names = dict(enumerate(names))
        with pytest.raises(CheckpointError, match=rf"detector\.pt, .*left and right hands, .* has {told}"):
            make_detector("yolo", tmp_path)


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


@pytest.mark.parametrize("is_tall", [True, False])
def test_a_hand_anywhere_in_a_long_picture_is_found(is_tall):
    hand = read_image(SAMPLES / "synthhand_1_right.jpg").bgr
    scale = 230 / (hand.shape[1] if is_tall else hand.shape[0])
    hand = cv2.resize(hand, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = hand.shape[:2]
    alone = MediaPipeDetector(1).detect(hand, "x").boxes
    long = np.full((2000, width, 3) if is_tall else (height, 2000, 3), 120, np.uint8)
    place = 1130
    where = (
        (slice(place, place + height), slice(None)) if is_tall else (slice(None), slice(place, place + width))
    )
    long[where] = hand
    found = MediaPipeDetector(1).detect(long, "x").boxes
    assert len(found) == len(alone) > 0
    offset = np.array((0, place, 0, place) if is_tall else (place, 0, place, 0))
    assert np.abs(np.array(found[0].box_xyxy) - offset - alone[0].box_xyxy).max() < 25
    assert found[0].is_right == alone[0].is_right
