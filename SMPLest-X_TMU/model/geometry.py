"""SMPLest-X's own rotations and cameras, which differ from those of the hand models.

Convention: camera frame with x right, y down, z forward, metres; axis-angle in radians.
"""

import math

import torch
from torch import Tensor

from shared_tmu.pictures.geometry import interleaved_rot6d_to_rotmat, rotmat_to_axis_angle

Z_SHIFT_M = 1e-4  # added to depths before dividing, as published


def rotmat_to_interleaved_rot6d(rotmat: Tensor) -> Tensor:
    """Return the first two columns of `[..., 3, 3]` matrices, row by row, `[..., 6]`."""
    return rotmat[..., :2].flatten(-2)


def interleaved_rot6d_to_axis_angle(rot6d: Tensor) -> Tensor:
    """Convert 6D rotations `[..., 6 * J]` to axis-angle `[..., 3 * J]`, each rotation separately, for any
    batch size.

    (The published helper mixes up the rotations of a batch of exactly three.)
    """
    return rotmat_to_axis_angle(interleaved_rot6d_to_rotmat(rot6d.unflatten(-1, (-1, 6)))).flatten(-2)


def distance_scale_m(focal_px: tuple[float, float], extent_m: float, img_size: tuple[int, int]) -> float:
    """Largest distance that the camera can predict: the distance at which `extent_m` metres fill the picture
    (geometric mean of its height and width `img_size`, pixels).
    """
    height, width = img_size
    return math.sqrt(focal_px[0] * focal_px[1] * extent_m**2 / (height * width))


def camera_translation(camera: Tensor, scale_m: float) -> Tensor:
    """Convert a predicted camera `[B, 3]` to a translation `[B, 3]`, metres: the distance is `scale_m` times
    a sigmoid.
    """
    return torch.cat((camera[:, :2], scale_m * camera[:, 2:].sigmoid()), dim=1)


def project_to_heatmap(
    points: Tensor,
    focal_px: tuple[float, float],
    princpt_px: tuple[float, float],
    img_size: tuple[int, int],
    heatmap_shape: tuple[int, int, int],
) -> Tensor:
    """Project points `[B, J, 3]` (metres, camera frame) into units of the published heat maps, `[B, J, 2]`.

    Args:
        points: points in front of the camera.
        focal_px: focal length (x, y) for a picture of `img_size`.
        princpt_px: principal point (x, y) for the same picture.
        img_size: height and width, pixels.
        heatmap_shape: depth, height, width.
    """
    units = heatmap_shape[2] / img_size[1], heatmap_shape[1] / img_size[0]
    slopes = (points[..., :2] / (points[..., 2:] + Z_SHIFT_M)).unbind(-1)
    # Plain numbers instead of tensors: a GPU would wait for each such tensor to be copied to it.
    projected = [
        (slope * focal + middle) * unit
        for slope, focal, middle, unit in zip(slopes, focal_px, princpt_px, units, strict=True)
    ]
    return torch.stack(projected, dim=-1)
