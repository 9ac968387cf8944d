"""The mask from the frame before lies on the hand in its own frame, while hands move and grow."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from clip_runs import run
from toy_demo import MANO, ToyDemoHand, write_boxes
from toy_hand_model import program_of

from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.masking import PreviousFrame

SIZE_PX = (480, 320)
FRAMES = 6
CROP_PX = 128


def silhouette(corners, size):
    """Triangles of a mesh, filled, `[h, w]` bool."""
    out = np.zeros(size[::-1], np.uint8)
    for triangle in np.round(corners[MANO.faces] * 16).astype(np.int32):
        cv2.fillConvexPoly(out, triangle, 1, shift=4)
    return out.astype(bool)


def middle_and_area(bright):
    rows, columns = np.nonzero(bright)
    return np.array([columns.mean(), rows.mean()]), len(rows)


class SeeingHand(ToyDemoHand):
    """Puts its hand where the picture is bright, as large as the bright area: it looks, and knows no box."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(image_size=CROP_PX, backbone=SimpleNamespace(grid=(16, 16)))
        corners = CROP_PX / 2 * (1 + 4.0 * self.template[:, :2].numpy())  # as with the camera (4, 0, 0)
        middle, self.area = middle_and_area(silhouette(corners, (CROP_PX, CROP_PX)))
        self.middle = (2 * middle / CROP_PX - 1) / 4.0

    def forward(self, batch):
        out = super().forward(batch)
        cameras = []
        for bright in (batch["img"].float().mean(1) > 0).numpy():
            middle, area = middle_and_area(bright) if bright.any() else (np.full(2, CROP_PX / 2), self.area)
            scale = 4.0 * np.sqrt(area / self.area)
            cameras.append([scale, *((2 * middle / CROP_PX - 1) / scale - self.middle)])
        vertices = self.template.expand_as(out["pred_vertices"])
        return {**out, "pred_cam": torch.tensor(cameras, dtype=torch.float32), "pred_vertices": vertices}


HANDS = {True: ((80.0, 90.0), (10.0, 7.0), 400.0), False: ((380.0, 250.0), (-9.0, -11.0), 440.0)}
"""Of the right and the left hand: where it is first, its way from frame to frame, its pixels per metre. No
crop shows both."""


def true_hand(number, is_right):
    """The silhouette of a hand in the picture of a frame."""
    start, way, scale = HANDS[is_right]
    flat = MANO.v_template[:, [0, 2]] * (1.0 if is_right else -1.0, 1.0)
    at = np.array(start) + number * np.array(way)
    return silhouette(at + scale * 1.06**number * (flat - flat.mean(0)), SIZE_PX)


def box_of(bright, jitter):
    """A detector's box: around the hand, and a little off."""
    rows, columns = np.nonzero(bright)
    edges = np.array([columns.min(), rows.min(), columns.max(), rows.max()], np.float64)
    return [float(value) for value in edges + jitter.uniform(-1.5, 1.5, 4)]


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """Masks of the demo on such a clip: (frame, side) to (mask, its source, crop to picture)."""
    jitter, boxes, clip = np.random.default_rng(0), {}, tmp_path / "clip.mp4"
    with ClipWriter(clip, SIZE_PX) as writer:
        for number in range(FRAMES):
            hands = {side: true_hand(number, side) for side in HANDS}
            picture = np.repeat(np.where(hands[True] | hands[False], 255, 0)[..., None], 3, axis=2)
            writer.write(picture.astype(np.uint8), number / 10)
            boxes[f"clip.mp4:{number}"] = [
                {"box_xyxy": box_of(hand, jitter), "is_right": side} for side, hand in hands.items()
            ]
        writer.finish(FRAMES / 10)
    found, complete = {}, PreviousFrame.complete

    def watched(self, batch):
        waiting = [(job, mask, *mask.waits) for job, mask in zip(batch.jobs, batch.masks, strict=True)]
        complete(self, batch)
        for job, mask, box, scene in waiting:
            found[int(job.source.key), box.is_right] = (mask.mask, mask.source, scene.to_picture)

    monkeypatch.setattr(PreviousFrame, "complete", watched)
    (tmp_path / "toy").mkdir()
    program = program_of(
        tmp_path / "toy", lambda *paths: SeeingHand().eval(), tmp_path / "toy" / "toy.safetensors"
    )
    given = ("--mask", "previous", "--no-overlays", "--rescale_factor", 1.5)
    assert run(program, clip, tmp_path / "out", *given, boxes=write_boxes(tmp_path / "b.json", boxes)) == 0
    return found


def shared(mask, hand, to_picture):
    """Intersection over union of a mask and a hand in the picture, in the mask's crop."""
    inverse = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(hand.astype(np.uint8), to_picture, mask.shape[::-1], flags=inverse).astype(bool)
    return (mask & seen).sum() / (mask | seen).sum()


def test_the_mask_follows_hands_that_move_and_grow(masks):
    assert len(masks) == 2 * FRAMES
    for (number, side), (mask, source, to_picture) in masks.items():
        if number == 0:
            assert (mask, source) == (None, "none")
            continue
        assert source == "previous"
        now = shared(mask, true_hand(number, side), to_picture)
        assert now > 0.7, (number, side)
        if number > 1:  # the hand that it was drawn from stood elsewhere
            assert now > shared(mask, true_hand(number - 1, side), to_picture) + 0.2, (number, side)
