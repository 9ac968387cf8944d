"""Linear blend skinning: deforms a template by shape coefficients and joint rotations, as a pure function.

smplx has the same for its own layers (the tests compare the two); this one uses only tensor operations, so it
can be compiled as one graph, exported, captured in a CUDA graph and run on an empty batch.

Shapes: B bodies, V vertices, J joints, S shape coefficients.

Source: Loper et al. 2015, SMPL: A Skinned Multi-Person Linear Model, section 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def skin_vertices(
    betas: Tensor,
    rotmat: Tensor,
    *,
    v_template: Tensor,
    shapedirs: Tensor,
    posedirs: Tensor,
    joint_regressor: Tensor,
    weights: Tensor,
    parents: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Pose a body.

    Args:
        betas: shape coefficients, `[B, S]`.
        rotmat: rotation of every joint relative to its parent, `[B, J, 3, 3]`.
        v_template: vertices at rest, `[V, 3]`, metres.
        shapedirs: offsets per shape coefficient, `[V, 3, S]`.
        posedirs: offsets per entry of (R - I) of joints 1.., row-major, `[9 * (J - 1), 3 * V]`.
        joint_regressor: joints from vertices at rest, `[J, V]`.
        weights: how much each joint moves each vertex, `[V, J]`; rows sum to one.
        parents: index of every joint's parent, smaller than its own; the first joint is the root.

    Returns:
        Vertices `[B, V, 3]` and joints `[B, J, 3]`, metres.
    """
    shaped = v_template + torch.einsum("bs,vks->bvk", betas, shapedirs)  # [B, V, 3]
    joints = joint_regressor @ shaped  # [B, J, 3]
    return bend_vertices(shaped, joints, rotmat, posedirs=posedirs, weights=weights, parents=parents)


def bend_vertices(
    shaped: Tensor,
    joints: Tensor,
    rotmat: Tensor,
    *,
    posedirs: Tensor,
    weights: Tensor,
    parents: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Pose a body whose shape is known.

    Args:
        shaped: vertices at rest, `[B, V, 3]`.
        joints: joints at rest, `[B, J, 3]`.
        rotmat: see `skin_vertices`, also for the other arguments and the result.
    """
    bends = rotmat[:, 1:] - torch.eye(3, dtype=rotmat.dtype, device=rotmat.device)
    posed = shaped + (bends.flatten(1) @ posedirs).view_as(shaped)  # [B, V, 3]
    turned, moved = _follow_tree(rotmat, joints, parents)
    offset = moved - _apply(turned, joints)  # [B, J, 3]; p moves to rotmat p + offset
    blended = weights @ torch.cat((turned.flatten(2), offset), dim=2)  # [B, V, 12]
    turn, shift = blended.tensor_split((9,), dim=2)
    return _apply(turn.reshape(*posed.shape, 3), posed) + shift, moved


def _follow_tree(rotmat: Tensor, joints: Tensor, parents: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rotation `[B, J, 3, 3]` and position `[B, J, 3]` of every joint after all joints above it have
    rotated.
    """
    rotations, places = [rotmat[:, 0]], [joints[:, 0]]
    for joint, parent in enumerate(parents[1:], start=1):
        bone = joints[:, joint] - joints[:, parent]
        local = torch.cat((rotmat[:, joint], bone.unsqueeze(2)), dim=2)  # [B, 3, 4]
        turned = rotations[parent] @ local
        rotations.append(turned[..., :3])
        places.append(places[parent] + turned[..., 3])
    return torch.stack(rotations, dim=1), torch.stack(places, dim=1)


def _apply(rotmat: Tensor, points: Tensor) -> Tensor:
    """Rotate each point `[..., 3]` by its own matrix `[..., 3, 3]`."""
    return (rotmat * points.unsqueeze(-2)).sum(-1)
