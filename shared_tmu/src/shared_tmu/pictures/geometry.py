"""Rotations, cameras and mirror images, as HaMeR and WiLoR use them.

Shapes: B batch, N points, J joints; a leading `...` means any number of batch dimensions.

Convention: right-handed camera frame, x right, y down, z forward, metres. A rotation matrix acts on column
vectors (p' = R p); axis-angle vectors are in radians; quaternions are (w, x, y, z). All functions are
differentiable and keep the dtype and device of their input.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from shared_tmu.errors import InputError

FOCAL_PX = 5000.0  # focal length of a 256 px crop with which the published models were trained
CROP_PX = 256


def rot6d_to_rotmat(rot6d: Tensor) -> Tensor:
    """Convert 6D rotations into matrices by Gram-Schmidt.

    Convention: "contiguous": the first three numbers are parallel to the first column of the matrix, the last
    three give the second. (SMPLest-X interleaves them; the two orders are not interchangeable.)

    Args:
        rot6d: `[..., 6]`.

    Returns:
        Rotation matrices `[..., 3, 3]`.

    Source: Zhou et al. 2019, On the Continuity of Rotation Representations, arXiv:1812.07035.
    """
    _expect_last("rot6d", rot6d, 6)
    first, second = rot6d[..., :3], rot6d[..., 3:]
    column1 = F.normalize(first, dim=-1)
    column2 = F.normalize(second - (column1 * second).sum(-1, keepdim=True) * column1, dim=-1)
    column3 = torch.linalg.cross(column1, column2, dim=-1)
    return torch.stack((column1, column2, column3), dim=-1)


def interleaved_rot6d_to_rotmat(rot6d: Tensor) -> Tensor:
    """Convert SMPLest-X's 6D rotations `[..., 6]` into matrices `[..., 3, 3]`.

    Convention: "interleaved": numbers 0, 2, 4 are parallel to the first column, numbers 1, 3, 5 give the
    second. (HaMeR and WiLoR take the first three and the last three, see `rot6d_to_rotmat`.)
    """
    _expect_last("rot6d", rot6d, 6)
    return rot6d_to_rotmat(torch.cat((rot6d[..., 0::2], rot6d[..., 1::2]), dim=-1))


def rotmat_to_rot6d(rotmat: Tensor) -> Tensor:
    """Return the first two columns of `[..., 3, 3]` rotation matrices, one after the other: `[..., 6]`."""
    _expect_last("rotmat", rotmat, 3, 3)
    return rotmat[..., :2].transpose(-1, -2).flatten(-2)


def quaternion_to_rotmat(quaternion: Tensor) -> Tensor:
    """Convert quaternions (w, x, y, z) `[..., 4]`, of any length except zero, into matrices `[..., 3, 3]`."""
    _expect_last("quaternion", quaternion, 4)
    w, x, y, z = F.normalize(quaternion, dim=-1).unbind(-1)
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)), -1),
        torch.stack((2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)), -1),
        torch.stack((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)), -1),
    )
    return torch.stack(rows, dim=-2)


def axis_angle_to_rotmat(axis_angle: Tensor) -> Tensor:
    """Convert axis-angle vectors `[..., 3]` (radians) into rotation matrices `[..., 3, 3]`.

    The angle is the norm after adding 1e-8 to each component, as in the published models, so that there is a
    gradient at zero. In half precision this addition has no effect and would lead to a division by zero, so
    it is computed in float32; ONNX exporters remove such a small addition, so the norm also has a lower
    limit.
    """
    _expect_last("axis_angle", axis_angle, 3)
    vector = axis_angle.float() if axis_angle.dtype in (torch.float16, torch.bfloat16) else axis_angle
    angle = (vector + 1e-8).norm(dim=-1, keepdim=True).clamp_min(1e-12)
    half = 0.5 * angle
    quaternion = torch.cat((half.cos(), half.sin() * (vector / angle)), dim=-1)
    return quaternion_to_rotmat(quaternion).to(axis_angle.dtype)


def rotmat_to_quaternion(rotmat: Tensor) -> Tensor:
    """Convert rotation matrices `[..., 3, 3]` into unit quaternions (w, x, y, z) `[..., 4]` with w >= 0.

    There are four formulae (from the trace, or from one diagonal entry); each matrix uses the one with the
    largest divisor, so no rotation is ill-conditioned.
    """
    _expect_last("rotmat", rotmat, 3, 3)
    r = [[rotmat[..., i, j] for j in range(3)] for i in range(3)]
    xx, yy, zz = r[0][0], r[1][1], r[2][2]
    # Row k is the quaternion times 4 times its own component k.
    rows = torch.stack(
        (
            torch.stack((1 + xx + yy + zz, r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]), -1),
            torch.stack((r[2][1] - r[1][2], 1 + xx - yy - zz, r[1][0] + r[0][1], r[0][2] + r[2][0]), -1),
            torch.stack((r[0][2] - r[2][0], r[1][0] + r[0][1], 1 - xx + yy - zz, r[2][1] + r[1][2]), -1),
            torch.stack((r[1][0] - r[0][1], r[0][2] + r[2][0], r[2][1] + r[1][2], 1 - xx - yy + zz), -1),
        ),
        dim=-2,
    )
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)  # [...]
    index = best[..., None, None].expand(*best.shape, 1, 4)
    quaternion = F.normalize(rows.gather(-2, index).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def rotmat_to_axis_angle(rotmat: Tensor) -> Tensor:
    """Convert rotation matrices `[..., 3, 3]` into axis-angle vectors `[..., 3]`, angle in [0, pi] radians.

    At exactly pi both axes are correct; either may be returned. Half precision is computed in float32.
    """
    _expect_last("rotmat", rotmat, 3, 3)
    matrix = rotmat.float() if rotmat.dtype in (torch.float16, torch.bfloat16) else rotmat
    quaternion = rotmat_to_quaternion(matrix)
    w, xyz = quaternion[..., :1], quaternion[..., 1:]
    squared = (xyz * xyz).sum(-1, keepdim=True)
    small = squared < 1e-12
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()  # of half the angle
    scale = torch.where(small, 2.0 / w.clamp_min(0.5), 2.0 * torch.atan2(sine, w) / sine)
    return (scale * xyz).to(rotmat.dtype)


def mirror_points(points: Tensor) -> Tensor:
    """Mirror points or vectors `[..., 3]` in the plane x = 0."""
    _expect_last("points", points, 3)
    return points * points.new_tensor((-1.0, 1.0, 1.0))


def mirror_axis_angle(axis_angle: Tensor) -> Tensor:
    """Mirror rotations `[..., 3]` (radians) in the plane x = 0: a right hand's pose becomes the left hand's.

    Convention: an axial vector keeps x and negates y and z; this equals `mirror_rotmat` of its matrix.
    """
    _expect_last("axis_angle", axis_angle, 3)
    return axis_angle * axis_angle.new_tensor((1.0, -1.0, -1.0))


def mirror_rotmat(rotmat: Tensor) -> Tensor:
    """Mirror rotation matrices `[..., 3, 3]` in the plane x = 0: M R M with M = diag(-1, 1, 1)."""
    _expect_last("rotmat", rotmat, 3, 3)
    signs = rotmat.new_tensor((-1.0, 1.0, 1.0))
    return rotmat * signs[:, None] * signs


def project_points(
    points: Tensor,
    translation: Tensor,
    focal_px: Tensor,
    centre_px: Tensor | None = None,
    rotmat: Tensor | None = None,
) -> Tensor:
    """Project 3D points with a pinhole camera.

    Args:
        points: `[B, N, 3]`.
        translation: added after the rotation, `[B, 3]`, same unit as `points`.
        focal_px: `[B, 2]` (x, y), pixels, or any other unit; the result has the same unit.
        centre_px: principal point `[B, 2]`; zero by default.
        rotmat: camera rotation `[B, 3, 3]`; identity by default.

    Returns:
        `[B, N, 2]`, f * xy / z + centre.
    """
    _expect_last("points", points, 3)
    rotated = points if rotmat is None else torch.einsum("bij,bnj->bni", rotmat, points)
    camera = rotated + translation[:, None]
    projected = camera[..., :2] / camera[..., 2:] * focal_px[:, None]
    return projected if centre_px is None else projected + centre_px[:, None]


def weak_camera_to_translation(
    camera: Tensor, focal_px: float = FOCAL_PX, image_size_px: int = CROP_PX
) -> Tensor:
    """Convert a weak-perspective crop camera (s, tx, ty) `[B, 3]` into a translation `[B, 3]` for a crop of
    `image_size_px` with focal length `focal_px`: (tx, ty, 2 f / (size * s)).
    """
    _expect_last("camera", camera, 3)
    scale, tx, ty = camera.unbind(-1)
    return torch.stack((tx, ty, 2 * focal_px / (image_size_px * scale + 1e-9)), dim=-1)


def full_image_focal(img_size: Tensor, focal_px: float = FOCAL_PX, image_size_px: int = CROP_PX) -> Tensor:
    """Scale the crop's focal length to whole images: `focal_px / image_size_px` times the longer side.

    Args:
        img_size: (width, height) in pixels, `[B, 2]`.

    Returns:
        Focal lengths in pixels, `[B]`. The published code takes one maximum over the whole batch, so that a
        result depends on the other images; here each image has its own focal length (equal for a batch of one
        image).
    """
    _expect_last("img_size", img_size, 2)
    return focal_px / image_size_px * img_size.max(dim=-1).values


def crop_camera_to_full(
    camera: Tensor, box_center: Tensor, box_size: Tensor, img_size: Tensor, focal_px: Tensor | float
) -> Tensor:
    """Convert a crop's weak-perspective camera to a translation in the whole image.

    Convention: for a left hand, negate tx first (the crop was mirrored) and mirror the vertices.

    Args:
        camera: (s, tx, ty), `[B, 3]`.
        box_center: crop centre in image pixels, `[B, 2]`.
        box_size: side of the square crop in image pixels, `[B]`.
        img_size: (width, height) in pixels, `[B, 2]`.
        focal_px: focal length of the whole image, a number or `[B]`.

    Returns:
        Translation `[B, 3]` for a camera with that focal length and the image centre as principal point.
    """
    _expect_last("camera", camera, 3)
    scale, tx, ty = camera.unbind(-1)
    side = box_size * scale + 1e-9
    offset = 2 * (box_center - img_size / 2) / side[:, None]
    return torch.stack((tx + offset[:, 0], ty + offset[:, 1], 2 * focal_px / side), dim=-1)


def full_camera_to_crop(
    translation: Tensor, box_center: Tensor, box_size: Tensor, img_size: Tensor, focal_px: Tensor | float
) -> Tensor:
    """Convert a translation `[B, 3]` in the whole image to a crop's weak-perspective camera (s, tx, ty).

    Convention: the inverse of `crop_camera_to_full`, with the same arguments; for a left hand, negate tx
    afterwards.
    """
    _expect_last("translation", translation, 3)
    x, y, z = translation.unbind(-1)
    side = 2 * focal_px / z
    offset = 2 * (box_center - img_size / 2) / side[:, None]
    return torch.stack((side / box_size, x - offset[:, 0], y - offset[:, 1]), dim=-1)


def _expect_last(name: str, x: Tensor, *shape: int) -> None:
    if tuple(x.shape[-len(shape) :]) != shape:
        wanted = ", ".join(str(n) for n in shape)
        raise InputError(f"{name} must end in dimensions [{wanted}], found {list(x.shape)}.")
