"""MediaPipe's models in LiteRT give what they give in MediaPipe; and what is missing is named."""

import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from views import SAMPLES

from shared_tmu.detect import choose_detector, litert_files, make_detector
from shared_tmu.detect.close_looks import TURNED_VIEWS, VIEWS, _close_up
from shared_tmu.detect.landmarks import Square
from shared_tmu.detect.litert_files import SHA256, find_files, read_files
from shared_tmu.detect.mediapipe_hands import MIN_PALM_SCORE, PALM_TILE_PX, LiteRTDetector, _windows
from shared_tmu.detect.tiles import cut
from shared_tmu.errors import InputError, MissingAssetError, MissingDependencyError
from shared_tmu.pictures.images import read_image

NAMES = [Path(name).name for name in SHA256]
ROOT = litert_files._root()
needs_files = pytest.mark.skipif(ROOT is None, reason="needs MediaPipe's model files")


def write_wheel(folder, version="0.10.21", without=(), changed=()):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"mediapipe-{version}-cp312-cp312-any.whl", "w") as wheel:
        for name in SHA256:
            if name not in without:
                wheel.writestr(name, b"other" if name in changed else (ROOT / name).read_bytes())
    return folder


@pytest.fixture
def no_mediapipe(monkeypatch):
    monkeypatch.setattr(litert_files, "find_spec", lambda name: None)


@needs_files
def test_the_models_are_found_in_a_folder_in_a_wheel_and_in_mediapipe(tmp_path, monkeypatch):
    installed = find_files(None)
    assert find_files(tmp_path / "nowhere") == installed
    monkeypatch.setattr(litert_files, "find_spec", lambda name: None)
    write_wheel(tmp_path, "1.2.3", without=list(SHA256))  # a version without models
    assert find_files(tmp_path) is None
    assert read_files(write_wheel(tmp_path)) == installed
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in SHA256:
        (plain / Path(name).name).write_bytes((ROOT / name).read_bytes())
    assert read_files(plain) == installed


@needs_files
def test_other_models_and_broken_wheels_are_refused(tmp_path, no_mediapipe):
    changed = write_wheel(tmp_path / "changed", changed=[next(iter(SHA256))])
    with pytest.raises(InputError, match=r"palm_detection_full.tflite in .* is not the file of MediaPipe"):
        find_files(changed)
    (tmp_path / "mediapipe-0.10.21-x.whl").write_bytes(b"no zip")
    with pytest.raises(InputError, match="cannot be read as a wheel"):
        find_files(tmp_path)


def test_what_is_missing_is_named(tmp_path, monkeypatch, no_mediapipe):
    with pytest.raises(
        MissingAssetError, match=f"{NAMES[0]} and {NAMES[1]} .*pip download mediapipe==0.10.21"
    ):
        make_detector("litert", tmp_path)
    with pytest.raises(InputError, match="not used by --detector litert"):
        make_detector("litert", tmp_path, boxes=tmp_path / "b.json")
    files = SimpleNamespace(palm=b"", hand=b"")
    monkeypatch.setattr("shared_tmu.detect.mediapipe_hands.read_files", lambda folder: files)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingDependencyError, match=r"shared_tmu\[litert\]"):
        make_detector("litert", tmp_path)


@needs_files
def test_it_is_chosen_only_where_mediapipe_is_missing_and_all_it_needs_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr("shared_tmu.detect.find_spec", lambda name: name)
    write_wheel(tmp_path)
    assert choose_detector(tmp_path, None) == "mediapipe"
    monkeypatch.setattr(litert_files, "find_spec", lambda name: None)
    assert choose_detector(tmp_path, None) == "litert"
    assert choose_detector(tmp_path / "empty", None) == "mediapipe"  # whose message says what to install
    monkeypatch.setattr("shared_tmu.detect.find_spec", lambda name: None)
    assert choose_detector(tmp_path, None) == "mediapipe"


def test_a_mediapipe_without_graphs_is_told_from_none(monkeypatch):
    newer = ModuleType("mediapipe")
    newer.__version__ = "1.2.3"
    monkeypatch.setitem(sys.modules, "mediapipe", newer)
    with pytest.raises(MissingDependencyError, match=r"mediapipe 1\.2\.3 has no graphs .* --detector litert"):
        make_detector("mediapipe", None)


@pytest.fixture(scope="module")
def both():
    """Both models, in MediaPipe and in LiteRT."""
    pytest.importorskip("ai_edge_litert", reason="needs shared_tmu[litert]")
    pytest.importorskip("mediapipe")
    from shared_tmu.detect.litert_models import LiteRTLandmarkModel, LiteRTPalmModel
    from shared_tmu.detect.mediapipe_graph import LandmarkModel, PalmModel

    files = read_files(None)
    palms = PalmModel(MIN_PALM_SCORE), LiteRTPalmModel(files.palm, MIN_PALM_SCORE)
    return palms, (LandmarkModel(), LiteRTLandmarkModel(files.hand))


@pytest.mark.parametrize("size", [(480, 640), (333, 517)])  # the second: tiles with two scales
def test_each_run_of_a_model_gives_what_mediapipe_gives(size, both):
    palm_models, hand_models = both
    image = read_image(SAMPLES / "synthhand_3_right.jpg").bgr[: size[0], : size[1]]
    looks = 0
    for window in _windows(image.shape[1], image.shape[0]):
        tile = cut(image, window, PALM_TILE_PX)
        expected, found = (model.run(tile) for model in palm_models)
        assert len(expected) == len(found)
        for palm, other in zip(expected, found, strict=True):
            assert np.abs(palm.points_px - other.points_px).max() < 0.01
            assert np.allclose(palm.box_px, other.box_px, atol=0.01)
            assert palm.score == pytest.approx(other.score, abs=1e-4)
            for scale, turn, is_mirrored in (*VIEWS, *TURNED_VIEWS):
                square = palm.square().changed(scale, turn)
                close = _close_up(image, square)
                seen, same = (model.run(close, square, is_mirrored) for model in hand_models)
                assert np.abs(seen.points_px - same.points_px).max() < 0.001 * square.side_px
                assert seen.presence == pytest.approx(same.presence, abs=0.01)
                assert seen.right == pytest.approx(same.right, abs=0.01) or abs(seen.right) < 0.52
                looks += 1
    assert looks >= 20


@pytest.mark.parametrize("scale", [0.5, 2.5])
def test_a_picture_turned_or_mirrored_gives_the_same_points_turned_or_mirrored(scale, both):
    """To a part of a pixel that the model sees, also where it sees a smaller picture, or its mirror image."""
    image = read_image(SAMPLES / "synthhand_3_right.jpg").bgr
    ((palm, *_), _) = (model.run(cut(image, (0, 0, *image.shape[1::-1]), 256)) for model in both[0])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    last = np.array(image.shape[1::-1]) - 1
    square = palm.square()
    (x, y), side = np.multiply(square.centre_px, scale), scale * square.side_px
    square = Square((x, y), side, square.angle)
    turned = Square((last[0] - x, last[1] - y), side, square.angle + np.pi)
    mirrored = Square((last[0] - x, y), side, -square.angle)
    about, across = np.ascontiguousarray(image[::-1, ::-1]), np.ascontiguousarray(image[:, ::-1])
    tolerance = 1e-3 if scale < 1 else 0.25 * max(_close_up(image, square).scale)
    for model in both[1]:
        seen = model.run(_close_up(image, square), square).points_px
        other = model.run(_close_up(about, turned), turned).points_px
        mirror = model.run(_close_up(across, mirrored), mirrored, True).points_px
        assert np.abs(np.median(last - other - seen, axis=0)).max() < tolerance
        moved = mirror * (-1, 1) + (last[0], 0) - seen
        assert np.abs(np.median(moved, axis=0)).max() < tolerance


@pytest.mark.parametrize("name", ["synthhand_3_right.jpg", "synthhand_4_left.jpg"])
def test_the_same_hands_are_found_and_mirrored_ones_in_the_mirror(name, both, capfd):
    image = read_image(SAMPLES / name).bgr
    detector = LiteRTDetector(None, threads=2)
    ((hand,), (expected,)) = (
        one.detect(image, name).boxes for one in (detector, make_detector("mediapipe", None))
    )
    assert hand.is_right == expected.is_right
    assert np.abs(np.subtract(hand.box_xyxy, expected.box_xyxy)).max() < 1
    assert np.abs(hand.landmarks_px - expected.landmarks_px).max() < 1
    assert hand.score == pytest.approx(expected.score, abs=0.02)
    (other,) = detector.detect(np.ascontiguousarray(image[:, ::-1]), name).boxes
    assert other.is_right != hand.is_right
    assert LiteRTDetector(None, threads=1).detect(image, name).boxes == (hand,)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (240, 320)])
def test_nothing_is_found_where_nothing_is(size, both):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert LiteRTDetector(None, threads=1).detect(noise, "x").boxes == ()
