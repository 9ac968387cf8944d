"""Masks from the frame before: whose, where, after which frames, and the same for every batch size."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from clip_runs import run, write_clip
from toy_demo import write_boxes

from shared_tmu.demo.batching import Batch, CropMask, Job
from shared_tmu.demo.masking import PreviousFrame
from shared_tmu.demo.predict import Prediction
from shared_tmu.demo.subjects import HANDS
from shared_tmu.detect import Detection, HandBox
from shared_tmu.masks import find_masks

FACES = np.array([(0, 1, 2), (0, 2, 3)])
CORNERS = np.array([(40.0, 30.0), (60.0, 30.0), (60.0, 50.0), (40.0, 50.0)])  # pixels of the mesh
PICTURE = np.zeros((120, 160, 3), np.uint8)


class Subject:
    """Its mesh is a square in the picture, wherever its box is."""

    def record(self, output, box, crop, camera):
        return SimpleNamespace(vertices_camera_m=np.column_stack((CORNERS, np.ones(4))))

    scene = staticmethod(HANDS.scene)


@pytest.fixture
def previous(monkeypatch):
    monkeypatch.setattr(
        "shared_tmu.demo.masking.ImageCamera",
        SimpleNamespace(of_image=lambda *size: SimpleNamespace(project=lambda points: points[:, :2])),
    )
    return PreviousFrame(Subject(), FACES, None)


def frame(number, *boxes):
    crops = [HANDS.crop(PICTURE, box, 2.0, (256, 256)) for box in boxes]
    source = SimpleNamespace(key=str(number))
    masks = [
        CropMask(None, "none", (box, HANDS.scene(box, crop))) for box, crop in zip(boxes, crops, strict=True)
    ]
    job = Job(source, "", (160, 120), None, Detection(tuple(boxes)), crops, masks)
    job.predictions = [Prediction({}) for _ in boxes]
    return job


def complete(previous, job):
    previous.complete(Batch((), tuple([job] * len(job.masks)), tuple(job.masks)))
    assert all(mask.waits is None for mask in job.masks)
    return [mask.source for mask in job.masks]


BOX = (30.0, 20.0, 70.0, 60.0)


def test_it_moves_and_grows_with_the_box(previous):
    previous.remember([frame(4, HandBox(BOX, True))])
    larger = HandBox((34.0, 18.0, 84.0, 68.0), True)  # by a quarter, its middle moved by (9, 3)
    job = frame(5, larger)
    assert complete(previous, job) == ["previous"]
    rows, columns = np.nonzero(job.masks[0].mask)
    scale = 256 / (2 * 50 * 256 / 192)  # the crop is twice the box, grown to 192:256
    middle = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2
    np.testing.assert_allclose(middle, [127.5, 127.5], atol=2.0)
    sides = [columns.max() - columns.min(), rows.max() - rows.min()]
    np.testing.assert_allclose(sides, np.array([25.0, 25.0]) * scale, atol=3.0)


def test_another_subject_side_or_frame_has_none(previous):
    previous.remember([frame(4, HandBox(BOX, True, track=7))])
    assert complete(previous, frame(6, HandBox(BOX, True, track=7))) == ["none"]
    assert complete(previous, frame(5, HandBox(BOX, False, track=7))) == ["none"]
    assert complete(previous, frame(5, HandBox(BOX, True, track=8))) == ["none"]
    two = frame(5, HandBox(BOX, True, track=8), HandBox(BOX, True, track=7))
    assert complete(previous, two) == ["none", "previous"]
    previous.remember([frame(5), frame(4, HandBox(BOX, True))])  # an empty frame comes after its batch
    assert complete(previous, frame(6, HandBox(BOX, True))) == ["none"]
    assert complete(PreviousFrame(Subject(), FACES, None), frame(0, HandBox(BOX, True))) == ["none"]


BOXES = {
    "clip.mp4": [{"box_xyxy": [30, 20, 70, 70], "is_right": True}],
    "clip.mp4:3": [],
    "clip.mp4:6": [
        {"box_xyxy": [32, 20, 72, 70], "is_right": True},
        {"box_xyxy": [90, 30, 130, 80], "is_right": False},
    ],
}


def test_in_a_clip_it_is_the_frame_just_before_whatever_the_batches(program, tmp_path, capsys):
    clip = write_clip(tmp_path / "in" / "clip.mp4")
    boxes, found = write_boxes(tmp_path / "boxes.json", BOXES), []
    for size in (1, 3, 8):
        out = tmp_path / str(size)
        flags = ("--mask", "previous+box", "--batch_size", size, "--no-overlays")
        assert run(program, clip, out, *flags, boxes=boxes) == 0
        # the first frame, the one after the gap, and the hand that is new in frame 6
        assert "previous for 5 of 8 hands, box for 3 of 8 hands" in capsys.readouterr().out
        assert json.loads((out / "clip.json").read_text())["masks"] == {"box": 3, "previous": 5}
        found.append(np.load(out / "clip.npz")["vertices_m"])
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)
    assert run(program, clip, tmp_path / "box", "--mask", "box", "--no-overlays", boxes=boxes) == 0
    boxed = np.load(tmp_path / "box" / "clip.npz")["vertices_m"]
    moved = np.abs(boxed - found[0]).max(axis=(1, 2)) > 1e-7
    assert moved.tolist() == [False, True, True, False, True, True, False, True]
    assert find_masks("landmarks+previous+box").names == ("landmarks", "previous", "box")
