"""Hands and bodies in joints and twists: from what a model says of each frame, and back to its rotations.

A body model decides what is represented: MANO's hand by `HAND`, SMPL-X's body by `BODY`. SMPL has two joints
in the middle of the hands, which SMPL-X has as the first joints of the middle fingers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shared_tmu.body_models.mano import FINGERTIPS
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.body_models.smplx_model import EXTRA_VERTICES
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.skeletons import BODY, HAND, MotionTree
from shared_tmu.temporal.twists import from_features, points_to_pose, pose_to_points, to_features
from shared_tmu.temporal.windows import in_windows

Layer = ManoLayer | SmplxLayer


@dataclass(frozen=True)
class Places:
    """Where the points of a tree are in a body model.

    Attributes:
        tree: the skeleton.
        joints: joints of the body model, one for each of the tree's.
        vertices: vertices of the body model, one for each leaf.
    """

    tree: MotionTree
    joints: tuple[int, ...]
    vertices: tuple[int, ...]


_NOSE, _LEFT_TOE, _RIGHT_TOE, _LEFT_TIP, _RIGHT_TIP = (EXTRA_VERTICES[row] for row in (0, 5, 8, 13, 18))
OF_HAND = Places(HAND, tuple(range(HAND.num_joints)), tuple(FINGERTIPS))
OF_BODY = Places(BODY, (*range(22), 28, 43), (_NOSE, _LEFT_TIP, _RIGHT_TIP, _LEFT_TOE, _RIGHT_TOE))


def places_of(layer: Layer) -> Places:
    """What represents the motion of a body model."""
    return OF_BODY if isinstance(layer, SmplxLayer) else OF_HAND


def rest_points(layer: Layer, betas: Tensor) -> Tensor:
    """The skeleton at rest, `[..., K, 3]` metres: joints and leaves of the template with this shape.

    Args:
        layer: the body model.
        betas: `[..., 10]`.
    """
    places = places_of(layer)
    regressor, leaves = layer.J_regressor[list(places.joints)], list(places.vertices)
    base = torch.cat((regressor @ layer.v_template, layer.v_template[leaves]))
    directions = torch.einsum("jv,vks->jks", regressor, layer.shapedirs)
    directions = torch.cat((directions, layer.shapedirs[leaves]))
    found: Tensor = base + torch.einsum("jks,...s->...jk", directions, betas.to(base))
    return found


def motion_points(layer: Layer, rotmat: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
    """Points `[..., K, 3]` and twists `[..., J - 1, 2]` of poses.

    Args:
        layer: the body model.
        rotmat: of the tree's joints, `[..., J, 3, 3]`.
        betas: `[..., 10]`.
    """
    return pose_to_points(rotmat.to(layer.v_template), rest_points(layer, betas), places_of(layer).tree)


def motion_features(layer: Layer, rotmat: Tensor, betas: Tensor) -> Tensor:
    """Joints and twists of poses, `[..., F]`; see `motion_points`."""
    return to_features(*motion_points(layer, rotmat, betas))


def condition_of(layer: Layer, feature: Tensor, rotmat: Tensor, betas: Tensor) -> Tensor:
    """What the decoder reads of frames, `[..., C]`: the model's feature, then the motion that its head sees.

    Args:
        layer: the body model.
        feature: `[..., C - F]`.
        rotmat: of the model's head, `[..., J, 3, 3]`.
        betas: of the model's head, `[..., 10]`.
    """
    return torch.cat((feature.float(), motion_features(layer, rotmat, betas).float()), dim=-1)


@torch.no_grad()
def decode_motion(decoder: MotionDecoder, layer: Layer, condition: Tensor, betas: Tensor) -> Tensor:
    """Rotations of one hand or body in a clip, `[T, J, 3, 3]`; shape stays that of the model's head.

    Args:
        decoder: in eval mode, on the CPU or the condition's device.
        layer: the body model.
        condition: `[T, C]`, see `condition_of`.
        betas: of the model's head, `[T, 10]`.
    """
    motion = in_windows(decoder.sample, condition, decoder.config.frames)
    return pose_of(layer, motion, betas)


def pose_of(layer: Layer, motion: Tensor, betas: Tensor) -> Tensor:
    """Rotations `[T, J, 3, 3]` of joints and twists `[T, F]` on hands or bodies of this shape, `[T, 10]`."""
    rest, tree = rest_points(layer, betas), places_of(layer).tree
    points, twists = from_features(motion.to(rest), tree)
    return points_to_pose(points, twists, rest, tree)
