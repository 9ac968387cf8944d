"""A picture of a stage: in front of a background, on a ground, with camera artefacts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shared_tmu.pictures.render import pixel_directions
from shared_tmu.synth.backdrop import backdrop
from shared_tmu.synth.chance import Chance
from shared_tmu.synth.ground import Ground
from shared_tmu.synth.sensor import take_picture
from shared_tmu.synth.shading import Camera, Shot, _uneven
from shared_tmu.synth.varied_stage import VariedStage

Array = NDArray[np.float32]


def photograph_varied(
    chance: Chance,
    stage: VariedStage,
    camera: Camera,
    clutter: float,
    degrade: float,
    ground: Ground | None,
    depth_m: float,
    change: Callable[[Array], Array] | None = None,
) -> Shot:
    """Draw a stage in front of a background and add camera artefacts.

    Args:
        chance: the only source of randomness.
        stage: the solids of the scene, in the camera's frame.
        camera: the camera.
        clutter: see `backdrop`.
        degrade: see `take_picture`.
        ground: a surface on which objects rest, in front of the background.
        depth_m: approximate depth of the scene.
        change: changes all that is behind the stage, linear RGB `[H, W, 3]`.

    Raises:
        MissingDependencyError: embreex is not installed.
    """
    height, width = camera.height, camera.width
    rays = pixel_directions(camera.focal_px, camera.centre_px, width, height).reshape(-1, 3)
    behind = backdrop(chance.of("background"), height, width, clutter, stage.light, camera.focal_px / depth_m)
    if ground is not None:
        behind = ground.drawn(chance.of("table"), stage, rays.reshape(height, width, 3), behind)
    if change is not None:
        behind = change(behind)
    behind = behind.reshape(-1, 3)
    color, face, bary, depth = stage.shade(rays, (height, width))
    seen = face >= 0
    color = np.where(seen[:, None], color, behind)
    solid = np.where(seen, stage.solid_of_face[face], -1)
    depth = np.where(seen, depth, np.inf).astype(np.float32)
    uneven = _uneven(solid.reshape(height, width), depth.reshape(height, width), 0.006 * stage.scale)
    fine = np.flatnonzero(uneven)
    if len(fine):
        color[fine] = _supersampled(stage, rays[fine], camera.focal_px, color[fine], behind[fine])
    image = take_picture(chance.of("camera"), color.reshape(height, width, 3), degrade)
    return Shot(image, solid, face, bary, depth)


def _supersampled(stage: VariedStage, rays: Array, focal_px: float, first: Array, behind: Array) -> Array:
    """Mean of the middle ray and three around it."""
    offsets = np.array([[-0.3, -0.2], [0.33, -0.15], [0.0, 0.35]], np.float32) / focal_px
    moved = np.tile(rays, (3, 1))
    moved[:, :2] += np.repeat(offsets, len(rays), axis=0)
    color, face, _, _ = stage.shade(moved)
    color = np.where(face[:, None] >= 0, color, np.tile(behind, (3, 1)))
    return np.asarray((first + color.reshape(3, -1, 3).sum(0)) / 4.0, np.float32)
