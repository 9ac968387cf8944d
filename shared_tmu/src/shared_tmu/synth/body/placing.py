"""The position of a scene's person, and the camera."""

from __future__ import annotations

import numpy as np

from shared_tmu.synth.body.model import PosedBody, synth_body
from shared_tmu.synth.body.scene import BodyScene
from shared_tmu.synth.shading import Camera


def place_body(scene: BodyScene) -> PosedBody:
    """The scene's person in the camera frame."""
    posed = synth_body().pose(scene.pose, scene.betas, scene.expression)
    middle = 0.5 * (posed.vertices.min(0) + posed.vertices.max(0))
    target = scene.distance_m * np.array([scene.offset[0], scene.offset[1], 1.0], np.float32)
    shift = target - middle
    nearest = float(posed.vertices[:, 2].min() + shift[2])
    shift[2] += max(0.0, 0.5 - nearest)  # no arm may reach into the camera
    return posed.moved(shift.astype(np.float32))


def frame_body(scene: BodyScene, body: PosedBody, width: int, height: int) -> Camera:
    """The camera with which the person's box fills a picture as the scene specifies.

    Args:
        scene: says how much of the picture the box fills, and where.
        body: in the camera frame, metres.
        width: picture width in pixels.
        height: picture height in pixels.
    """
    points = body.vertices[:, :2] / body.vertices[:, 2:]
    low, high = points.min(0), points.max(0)
    high[1] = low[1] + scene.upper_share * (high[1] - low[1])
    seen = points[points[:, 1] <= high[1]]
    low[0], high[0] = seen[:, 0].min(), seen[:, 0].max()
    extent = max(float(high[1] - low[1]), height / width * float(high[0] - low[0]))
    focal = scene.fill * height / extent
    middle = np.array([width, height]) / 2.0 + scene.centre_shift * height
    centre = middle - focal * 0.5 * (low + high)
    return Camera(float(focal), (float(centre[0]), float(centre[1])), width, height)
