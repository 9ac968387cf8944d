"""The published training losses of hand models. Each is summed over a hand and averaged over the batch.

Source: Pavlakos et al. 2024, arXiv:2312.05251, section 3.3; weights from the published training
    configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from shared_tmu.errors import ConfigError, InputError
from shared_tmu.limits import Limit, check_limits

_LIMIT = Limit(0, 1e6)


@dataclass(frozen=True)
class LossWeights:
    """Factors of the losses; the defaults are the published ones."""

    keypoints_3d: float = 0.05
    keypoints_2d: float = 0.01
    global_orient: float = 0.001
    hand_pose: float = 0.001
    betas: float = 0.0005
    adversarial: float = 0.0005

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LossWeights:
        """Read our names or the published ones (`KEYPOINTS_3D`, ...), as in the `LOSS_WEIGHTS` section.

        Raises:
            ConfigError: a name is unknown, a weight is not a number of at least 0, or no weight is above 0.
        """
        values = {key.lower(): value for key, value in content.items()}
        unknown = sorted(set(values) - set(asdict(cls())))
        if unknown:
            raise ConfigError(f"there is no loss {unknown}; use {sorted(asdict(cls()))}.")
        if len(values) < len(content):
            raise ConfigError(f"a loss is named twice in {sorted(content)}: leave one of them out.")
        try:
            weights = cls(**{key: float(value) for key, value in values.items()})
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"loss weights must be numbers, found {dict(content)}.") from error
        check_limits(weights, dict.fromkeys(values, _LIMIT))
        if not any(asdict(weights).values()):
            raise ConfigError(
                "all losses have weight 0, so nothing would be learned: give at least one a weight above 0."
            )
        return weights


def keypoint_loss(predicted: Tensor, target: Tensor, root: int | None = None) -> Tensor:
    """Absolute error of key points.

    Args:
        predicted: `[B, J, D]`.
        target: `[B, J, D]`, or `[B, J, D + 1]` with a confidence as last entry.
        root: key point that is subtracted from both, or None.
    """
    dimensions = predicted.shape[-1]
    confidence = target[..., dimensions:]
    if target.shape[:-1] != predicted.shape[:-1] or confidence.shape[-1] > 1:
        raise InputError(f"targets {list(target.shape)} do not fit predictions {list(predicted.shape)}.")
    target = target[..., :dimensions]
    if root is not None:
        predicted = predicted - predicted[:, root : root + 1]
        target = target - target[:, root : root + 1]
    error = (predicted - target).abs()
    return (error * confidence if confidence.shape[-1] else error).flatten(1).sum(1).mean()


def parameter_loss(predicted: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
    """Squared error of parameters `[B, ...]`; `known` `[B]` (0 or 1) marks the samples that have them."""
    error = (predicted - target).flatten(1).square().sum(1)
    return (error if known is None else error * known).mean()


def generator_loss(scores: Tensor) -> Tensor:
    """Distance of the discriminator's scores `[B, K]` for predictions from "real" (least squares)."""
    return (scores - 1).square().sum(1).mean()


def discriminator_loss(real: Tensor, predicted: Tensor) -> Tensor:
    """Distance of scores `[B, K]` from 1 for real hands and from 0 for predicted ones (least squares)."""
    return (real - 1).square().sum(1).mean() + predicted.square().sum(1).mean()


def supervised_losses(output: Mapping[str, Any], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute the supervised losses, unweighted.

    Args:
        output: the model's output dictionary.
        batch: targets of right-hand crops: `keypoints_2d` `[B, 21, 2]` in crops and `keypoints_3d`
            `[B, 21, 3]` in metres (each may have a confidence appended); `global_orient` `[B, 1, 3, 3]`,
            `hand_pose` `[B, 15, 3, 3]`, `betas` `[B, 10]`; optionally `has_mano_params` `[B]`.

    Returns:
        One number per name of `LossWeights` except `adversarial`.
    """
    params, known = output["pred_mano_params"], batch.get("has_mano_params")
    return {
        "keypoints_3d": keypoint_loss(output["pred_keypoints_3d"], batch["keypoints_3d"], root=0),
        "keypoints_2d": keypoint_loss(output["pred_keypoints_2d"], batch["keypoints_2d"]),
        **{
            name: parameter_loss(params[name], batch[name], known)
            for name in ("global_orient", "hand_pose", "betas")
        },
    }


def weighted_sum(losses: Mapping[str, Tensor], weights: LossWeights) -> Tensor:
    """The sum of losses multiplied by their weights."""
    return torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()
