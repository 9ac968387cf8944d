"""Hands in joints and twists: from what a hand model says of each frame, and back to its rotations."""

from __future__ import annotations

import torch
from torch import Tensor

from shared_tmu.body_models.mano import FINGERTIPS
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.skeletons import HAND
from shared_tmu.temporal.twists import from_features, points_to_pose, pose_to_points, to_features
from shared_tmu.temporal.windows import in_windows


def rest_points(layer: ManoLayer, betas: Tensor) -> Tensor:
    """The skeleton at rest, `[..., 21, 3]` metres: joints and tips of the template with this shape.

    Args:
        layer: the body model.
        betas: `[..., 10]`.
    """
    regressor, tips = layer.J_regressor, list(FINGERTIPS)
    base = torch.cat((regressor @ layer.v_template, layer.v_template[tips]))
    directions = torch.einsum("jv,vks->jks", regressor, layer.shapedirs)
    directions = torch.cat((directions, layer.shapedirs[tips]))
    found: Tensor = base + torch.einsum("jks,...s->...jk", directions, betas.to(base))
    return found


def hand_features(layer: ManoLayer, rotmat: Tensor, betas: Tensor) -> Tensor:
    """Joints and twists of hands, `[..., 93]`.

    Args:
        layer: the body model.
        rotmat: wrist and finger joints, `[..., 16, 3, 3]`.
        betas: `[..., 10]`.
    """
    rotmat = rotmat.to(layer.v_template)
    return to_features(*pose_to_points(rotmat, rest_points(layer, betas), HAND))


def condition_of(layer: ManoLayer, feature: Tensor, rotmat: Tensor, betas: Tensor) -> Tensor:
    """What the decoder reads of frames, `[..., C]`: the model's feature, then the motion that its head sees.

    Args:
        layer: the body model.
        feature: `[..., C - 93]`.
        rotmat: of the model's head, `[..., 16, 3, 3]`.
        betas: of the model's head, `[..., 10]`.
    """
    return torch.cat((feature.float(), hand_features(layer, rotmat, betas).float()), dim=-1)


@torch.no_grad()
def decode_hands(decoder: MotionDecoder, layer: ManoLayer, condition: Tensor, betas: Tensor) -> Tensor:
    """Rotations of one hand in a clip, `[T, 16, 3, 3]`; shape stays that of the model's head.

    Args:
        decoder: in eval mode, on the CPU or the condition's device.
        layer: the body model.
        condition: `[T, C]`, see `condition_of`.
        betas: of the model's head, `[T, 10]`.
    """
    motion = in_windows(decoder.sample, condition, decoder.config.frames)
    return pose_of(layer, motion, betas)


def pose_of(layer: ManoLayer, motion: Tensor, betas: Tensor) -> Tensor:
    """Rotations `[T, 16, 3, 3]` of joints and twists `[T, 93]` on hands of this shape, `[T, 10]`."""
    rest = rest_points(layer, betas)
    points, twists = from_features(motion.to(rest), HAND)
    return points_to_pose(points, twists, rest, HAND)
