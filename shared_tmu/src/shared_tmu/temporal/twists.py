"""Poses as joints and twists, and back: exact both ways while the skeleton at rest is the same.

Convention: rotations are relative to the parent, `[..., J, 3, 3]`, acting from the left; points in metres, in
the frame of the root's parent. A joint's rotation is `swing @ twist`: the smallest rotation that brings its
bone from rest to where it points, after a turn about the bone at rest. A twist is (cos, sin).

Source: Li et al. 2021, HybrIK, arXiv:2011.14672, section 3; written from the formulae.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared_tmu.temporal.skeletons import MotionTree

_TINY = 1e-12


def pose_to_points(rotmat: Tensor, rest: Tensor, skeleton: MotionTree) -> tuple[Tensor, Tensor]:
    """Points and twists of poses.

    Args:
        rotmat: `[..., J, 3, 3]`.
        rest: points at rest, `[..., K, 3]`, or the same for all, `[K, 3]`.
        skeleton: their tree.

    Returns:
        Points `[..., K, 3]`, the root where it is at rest, and twists `[..., J - 1, 2]`.
    """
    rest = rest.expand(*rotmat.shape[:-3], -1, -1)
    places, turns = [rest[..., 0, :]], [rotmat[..., 0, :, :]]
    for point, parent in enumerate(skeleton.parents[1:], start=1):
        bone = rest[..., point, :] - rest[..., parent, :]
        places.append(places[parent] + _turned(turns[parent], bone))
        if point < skeleton.num_joints:
            turns.append(turns[parent] @ rotmat[..., point, :, :])
    twists = [
        _twist_of(rotmat[..., j, :, :], _bone(rest, skeleton, j)) for j in range(1, skeleton.num_joints)
    ]
    return torch.stack(places, dim=-2), torch.stack(twists, dim=-2)


def points_to_pose(points: Tensor, twists: Tensor, rest: Tensor, skeleton: MotionTree) -> Tensor:
    """Rotations `[..., J, 3, 3]` from points `[..., K, 3]` and twists `[..., J - 1, 2]`.

    Positions are rebuilt from the root on, so that an error of one joint does not add up along its limb; see
    `MotionTree.drift_m`.
    """
    rest = rest.expand(points.shape)
    places: list[Tensor] = [points[..., 0, :]]
    turns: list[Tensor] = []
    found: list[Tensor] = []
    for joint in range(skeleton.num_joints):
        parent = skeleton.parents[joint]
        if parent >= 0:
            bone = rest[..., joint, :] - rest[..., parent, :]
            places.append(places[parent] + _turned(turns[parent], bone))
        above = turns[parent] if parent >= 0 else torch.eye(3, dtype=points.dtype, device=points.device)
        wanted = [
            _turned(above.transpose(-1, -2), _wanted(points, places[joint], rest, joint, child, skeleton))
            for child in skeleton.children[joint]
        ]
        if joint in skeleton.fitted:
            bones = [rest[..., child, :] - rest[..., joint, :] for child in skeleton.children[joint]]
            local = _fitted(torch.stack(bones, dim=-2), torch.stack(wanted, dim=-2))
        else:
            bone = _bone(rest, skeleton, joint)
            local = swing(bone, wanted[0]) @ about(bone, twists[..., joint - 1, :])
        found.append(local)
        turns.append(above @ local)
    return torch.stack(found, dim=-3)


def swing(start: Tensor, end: Tensor) -> Tensor:
    """The smallest rotation that turns direction `start` `[..., 3]` to `end`, `[..., 3, 3]`.

    It is two half turns, about `start` and about the middle of both; for opposite directions, which many
    rotations join, one of them.
    """
    a, b = _unit(start), _unit(end)
    middle = a + b
    a = a.expand_as(middle)
    length = middle.norm(dim=-1, keepdim=True)
    middle = torch.where(length > 1e-7, middle / length.clamp_min(_TINY), _across(a))
    return _half_turn(middle) @ _half_turn(a)


def about(axis: Tensor, cos_sin: Tensor) -> Tensor:
    """Rotation about `axis` `[..., 3]` by the angle of `cos_sin` `[..., 2]` of any length, `[..., 3, 3]`."""
    unit = _unit(axis)
    cos, sin = _unit(cos_sin, zero=(1.0, 0.0)).unsqueeze(-1).unbind(dim=-2)
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    along = unit.unsqueeze(-1) * unit.unsqueeze(-2)
    return cos[..., None] * eye + (1 - cos[..., None]) * along + sin[..., None] * _cross_matrix(unit)


def to_features(points: Tensor, twists: Tensor) -> Tensor:
    """One vector per frame, `[..., F]`: points relative to the root, then twists."""
    relative = points - points[..., :1, :]
    return torch.cat((relative.flatten(-2), twists.flatten(-2)), dim=-1)


def from_features(features: Tensor, skeleton: MotionTree) -> tuple[Tensor, Tensor]:
    """Points `[..., K, 3]`, the root at 0, and twists `[..., J - 1, 2]` of length 1, from `[..., F]`."""
    split = 3 * skeleton.num_points
    points = features[..., :split].reshape(*features.shape[:-1], skeleton.num_points, 3)
    twists = features[..., split:].reshape(*features.shape[:-1], skeleton.num_twists, 2)
    return points - points[..., :1, :], _unit(twists, zero=(1.0, 0.0))


def _bone(rest: Tensor, skeleton: MotionTree, joint: int) -> Tensor:
    return rest[..., skeleton.children[joint][0], :] - rest[..., joint, :]


def _wanted(
    points: Tensor, place: Tensor, rest: Tensor, joint: int, child: int, skeleton: MotionTree
) -> Tensor:
    """Where the bone to a child should point, from the rebuilt place of its joint."""
    given = points[..., child, :] - points[..., joint, :]
    length = (rest[..., child, :] - rest[..., joint, :]).norm(dim=-1, keepdim=True)
    plain = _unit(given) * length
    rebuilt = points[..., child, :] - place
    drifts = (rebuilt - plain).norm(dim=-1, keepdim=True) > skeleton.drift_m
    return torch.where(drifts, plain, rebuilt)


def _twist_of(rotmat: Tensor, bone: Tensor) -> Tensor:
    """(cos, sin) of the turn about a bone that remains of a rotation without its swing, `[..., 2]`."""
    rest = swing(bone, _turned(rotmat, bone)).transpose(-1, -2) @ rotmat
    unit = _unit(bone)
    cos = 0.5 * (rest.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0)
    skew = torch.stack(
        (
            rest[..., 2, 1] - rest[..., 1, 2],
            rest[..., 0, 2] - rest[..., 2, 0],
            rest[..., 1, 0] - rest[..., 0, 1],
        ),
        dim=-1,
    )
    sin = 0.5 * (skew * unit).sum(-1)
    return _unit(torch.stack((cos, sin), dim=-1), zero=(1.0, 0.0))


def _fitted(bones: Tensor, wanted: Tensor) -> Tensor:
    """The rotation that fits bones at rest to wanted ones best, `[..., n, 3]` each; never a mirror."""
    u, _, vt = torch.linalg.svd(wanted.transpose(-1, -2) @ bones)
    sign = torch.linalg.det(u @ vt)
    flip = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), dim=-1)
    rotmat: Tensor = (u * flip.unsqueeze(-2)) @ vt
    return rotmat


def _turned(rotmat: Tensor, vector: Tensor) -> Tensor:
    return (rotmat @ vector.unsqueeze(-1)).squeeze(-1)


def _half_turn(unit: Tensor) -> Tensor:
    eye = torch.eye(3, dtype=unit.dtype, device=unit.device)
    return 2.0 * unit.unsqueeze(-1) * unit.unsqueeze(-2) - eye


def _cross_matrix(v: Tensor) -> Tensor:
    x, y, z = v.unbind(dim=-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).reshape(*x.shape, 3, 3)


def _across(unit: Tensor) -> Tensor:
    """A unit vector perpendicular to each, `[..., 3]`."""
    axis = torch.nn.functional.one_hot(unit.abs().argmin(dim=-1), 3).to(unit)
    return _unit(torch.linalg.cross(unit, axis, dim=-1))


def _unit(v: Tensor, zero: tuple[float, ...] | None = None) -> Tensor:
    """Vectors of length 1; one without a length becomes `zero`, or stays as it is."""
    length = v.norm(dim=-1, keepdim=True)
    unit = v / length.clamp_min(_TINY)
    return unit if zero is None else torch.where(length > _TINY, unit, unit.new_tensor(zero))
