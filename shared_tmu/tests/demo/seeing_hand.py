"""A model that sees bright hands, and a clip of two that move and grow."""

from types import SimpleNamespace

import cv2
import numpy as np
import torch
from toy_demo import MANO, ToyDemoHand
from toy_hand_model import program_of

from shared_tmu.demo.clip_writer import ClipWriter

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


def write_hands(path, frames=FRAMES, speed=1.0):
    """A clip of the two hands, ten frames per second; gives back the detector's boxes, for a boxes file. No
    crop of up to `FRAMES / speed` frames shows both hands.
    """
    jitter, boxes = np.random.default_rng(0), {}
    with ClipWriter(path, SIZE_PX) as writer:
        for number in range(frames):
            hands = {side: true_hand(number * speed, side) for side in HANDS}
            picture = np.repeat(np.where(hands[True] | hands[False], 255, 0)[..., None], 3, axis=2)
            writer.write(picture.astype(np.uint8), number / 10)
            boxes[f"{path.name}:{number}"] = [
                {"box_xyxy": box_of(hand, jitter), "is_right": side} for side, hand in hands.items()
            ]
        writer.finish(frames / 10)
    return boxes


def seeing_program(folder):
    """The model's program."""
    folder.mkdir()
    return program_of(folder, lambda *paths: SeeingHand().eval(), folder / "toy.safetensors")
