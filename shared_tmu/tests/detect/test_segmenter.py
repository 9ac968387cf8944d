"""People segmented by a stand-in for a YOLO network: cut out, matched to boxes; what is missing is named."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from shared_tmu.detect import Detection, PersonBox
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.detect.people import make_people_detector
from shared_tmu.detect.segmenter import FILE_NAME, Segmented, YoloSegmenter, finder
from shared_tmu.errors import CheckpointError, MissingAssetError, MissingDependencyError
from shared_tmu.masks import MASKS, SKELETONS, MaskScene

PICTURE = np.zeros((40, 60, 3), np.uint8)


class Yolo:
    """Two people: one on columns 10 to 19, one on columns 30 to 49."""

    names: ClassVar = {0: "person", 1: "bicycle"}

    def __init__(self, path):
        self.path = path

    def predict(self, image, **options):
        assert options["retina_masks"]
        assert options["classes"] == [0]
        masks = torch.zeros(2, *image.shape[:2])
        masks[0, 5:35, 10:20] = 1.0
        masks[1, 8:30, 30:50] = 1.0
        boxes = torch.tensor([[10.0, 5.0, 20.0, 35.0], [30.0, 8.0, 50.0, 30.0]])
        return [SimpleNamespace(boxes=SimpleNamespace(xyxy=boxes), masks=SimpleNamespace(data=masks))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    package = ModuleType("ultralytics")
    package.YOLO = Yolo
    monkeypatch.setitem(sys.modules, "ultralytics", package)
    (tmp_path / FILE_NAME).write_bytes(b"weights")
    return tmp_path


class Finder:
    name = "somebody"

    def detect(self, image_bgr, image_name):
        boxes = [(29.0, 7.0, 51.0, 31.0), (9.0, 4.0, 21.0, 36.0), (50.0, 30.0, 60.0, 40.0)]
        return Detection(tuple(PersonBox(box) for box in boxes), ("a problem",))


def test_each_box_has_its_own_pixels(folder):
    found = Segmented(Finder(), YoloSegmenter(folder / FILE_NAME)).detect(PICTURE, "a.png")
    right, left, nobody = found.boxes
    assert found.problems == ("a problem",)
    assert nobody.silhouette is None
    assert right.silhouette.mask.shape == (22, 20)
    np.testing.assert_array_equal(left.silhouette.to_picture, [[1, 0, 10], [0, 1, 5]])
    scene = MaskScene((40, 60), np.eye(2, 3), SKELETONS["body"], silhouette=left.silhouette)
    drawn = MASKS["segmentation"].draw(scene)
    rows, columns = np.nonzero(drawn)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 34, 10, 19)


def test_with_any_detector_where_the_file_is_there(folder):
    boxes = folder / "boxes.json"
    boxes.write_text('{"a.png": [{"box_xyxy": [9, 4, 21, 36]}]}')
    made = make_people_detector("boxes", folder, boxes, segments=True)
    assert made.name == "boxes"
    assert isinstance(finder(made), BoxesDetector)
    assert made.detect(PICTURE, "a.png").boxes[0].silhouette is not None
    assert isinstance(make_people_detector("boxes", folder, boxes), BoxesDetector)


def test_a_network_that_does_not_segment_people_is_refused(folder, monkeypatch):
    monkeypatch.setattr(Yolo, "names", {0: "leaf"})
    with pytest.raises(CheckpointError, match=rf"{FILE_NAME}, .* has 1 \(leaf\)"):
        YoloSegmenter(folder / FILE_NAME)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(MissingAssetError, match=f"whole-image segments nobody: .*{FILE_NAME}"):
        make_people_detector("whole-image", tmp_path, segments=True)
    (tmp_path / FILE_NAME).write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(MissingDependencyError, match="ultralytics"):
        make_people_detector("whole-image", tmp_path, segments=True)
