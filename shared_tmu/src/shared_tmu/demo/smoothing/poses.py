"""What the temporal decoder reads of predictions and changes in them, for hands and for bodies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from shared_tmu.demo.smoothing.people import BodyMotions
from shared_tmu.pictures.geometry import axis_angle_to_rotmat, rotmat_to_axis_angle
from shared_tmu.programs.estimates import BODY, HAND, Estimate

if TYPE_CHECKING:
    from shared_tmu.demo.predict import Arrays

_BODY_JOINTS = 22
"""Pelvis and body joints; the decoder's two others are in the fingers, which stay the head's."""

_MIDDLE = slice(9, 12)
"""The first joint of the middle finger, among the 45 values of a hand."""


class Poses(Protocol):
    """Poses of one kind of prediction."""

    @property
    def layer(self) -> Any:
        """The body model."""

    def read(self, output: Arrays) -> tuple[Tensor, Tensor]:
        """Rotations `[J, 3, 3]` and shape `[10]`."""

    def write(self, output: Arrays, rotmat: Tensor) -> Arrays:
        """The arrays that differ with other rotations; shape and camera stay."""


@dataclass(frozen=True)
class HandPoses:
    """Of HaMeR and WiLoR.

    Attributes:
        layer: a MANO layer.
    """

    layer: Any

    def read(self, output: Arrays) -> tuple[Tensor, Tensor]:
        """See `Poses`, also for `write`."""
        rotmat = np.concatenate((output["global_orient"], output["hand_pose"]))
        return torch.from_numpy(rotmat), torch.from_numpy(np.asarray(output["betas"]))

    def write(self, output: Arrays, rotmat: Tensor) -> Arrays:
        betas = torch.from_numpy(np.asarray(output["betas"]))[None].to(self.layer.v_template)
        made = self.layer(rotmat[None, :1], rotmat[None, 1:], betas)
        new = {"pred_vertices": made.vertices[0], "pred_keypoints_3d": made.keypoints[0]}
        new |= {"global_orient": rotmat[:1], "hand_pose": rotmat[1:]}
        return {name: values.float().cpu().numpy() for name, values in new.items()}


@dataclass(frozen=True)
class BodyPoses:
    """Of SMPLest-X.

    Attributes:
        layer: an SMPL-X layer.
    """

    layer: Any

    def read(self, output: Arrays) -> tuple[Tensor, Tensor]:
        """See `Poses`, also for `write`."""
        means = [
            mean.cpu().numpy().reshape(45) for mean in (self.layer.left_hand_mean, self.layer.right_hand_mean)
        ]
        hands = [output[f"smplx_{side}hand_pose"] + mean for side, mean in zip("lr", means, strict=True)]
        parts = (output["smplx_root_pose"], output["smplx_body_pose"], *(hand[_MIDDLE] for hand in hands))
        turns = torch.from_numpy(np.concatenate(parts).reshape(-1, 3))
        return axis_angle_to_rotmat(turns), torch.from_numpy(np.asarray(output["smplx_shape"]))

    def write(self, output: Arrays, rotmat: Tensor) -> Arrays:
        turns = rotmat_to_axis_angle(rotmat[:_BODY_JOINTS]).float().cpu().numpy().reshape(-1)
        return BodyMotions(self.layer).posed(output, turns[:3], turns[3:])


def poses_of(estimates: Estimate, layer: Any) -> Poses:
    """What reads and changes the predictions of a model with this body layer."""
    kinds: dict[str, Callable[[Any], Poses]] = {HAND.name: HandPoses, BODY.name: BodyPoses}
    return kinds[estimates.name](layer)
