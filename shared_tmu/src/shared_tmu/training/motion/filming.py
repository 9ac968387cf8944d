"""Rendered clips of hands and bodies as the crops of a model, with the truth and what the model says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.pictures.geometry import rotmat_to_axis_angle
from shared_tmu.programs.estimates import HAND, Estimate
from shared_tmu.training.motion.pool import MotionPool, body_view
from shared_tmu.training.motion.sources import MotionSources

Array = NDArray[np.floating[Any]]
MEAN_FINGER = slice(9, 12)
"""The first joint of the middle finger, which SMPL calls a hand, among the 45 values of SMPL-X's."""
_SHIFT, _GROWTH = 0.012, 0.012  # deviations of a detector's boxes: shares of the crop's height


class Filmed(Protocol):
    """A clip: axis-angle `pose` `[T, J, 3]` of the tree's joints in the camera's frame; `betas` `[10]`."""

    pose: Array
    betas: Array

    def crops(self, reading: int) -> Tensor:
        """What the model gets, `[T, 3, H, W]`; every reading has noise of its own in its boxes."""


class Filming(Protocol):
    """Clips of one kind.

    Attributes:
        facts: what decides how a clip looks, besides its seed: plain values.
    """

    @property
    def facts(self) -> Mapping[str, Any]: ...

    def film(self, seed: int, index: int, frames: int) -> Filmed:
        """One clip of an endless sequence."""

    def read(self, output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """What a model says of B frames: pose `[B, J, 3]` and betas `[B, 10]`."""


def filming_of(estimates: Estimate, model: nn.Module, sources: MotionSources) -> Filming:
    """How clips of what a model estimates are made."""
    if estimates is HAND:
        return FilmingHands(int(model.config.image_size))  # type: ignore[union-attr, arg-type]
    return FilmingBodies(getattr(model, estimates.body_layer), sources)


@dataclass(frozen=True)
class FilmingHands:
    """Clips of SynthHand for a model whose crops have `size` pixels."""

    size: int

    @property
    def facts(self) -> Mapping[str, Any]:
        """See `Filming`, also for the others."""
        return {}

    def film(self, seed: int, index: int, frames: int) -> Filmed:
        from shared_tmu.synth.clips import sample_clip

        return FilmedHand(sample_clip(seed, index, frames), self.size)

    def read(self, output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        params = output["pred_mano_params"]
        pose = torch.cat((params["global_orient"], params["hand_pose"]), dim=1)
        return rotmat_to_axis_angle(pose), params["betas"]


class FilmedHand:
    """A `HandClip`."""

    def __init__(self, clip: Any, size: int) -> None:
        motion = clip.motion
        self.clip, self.size = clip, size
        self.pose: Array = np.concatenate((motion.root[:, None], motion.fingers), axis=1)
        self.betas: Array = motion.betas
        self._images = [np.ascontiguousarray(clip.image(frame)[..., ::-1]) for frame in range(len(clip))]

    def crops(self, reading: int) -> Tensor:
        """See `Filmed`."""
        from shared_tmu.pictures.hand_crops import hand_crop

        boxes = self.clip.boxes(reading=reading)
        pairs = zip(self._images, boxes, strict=True)
        found = [hand_crop(image, box, True, -1, self.size, antialias=False).img for image, box in pairs]
        return torch.from_numpy(np.stack(found))


class FilmingBodies:
    """Clips of SynthBody in motions of files. Another seed shows other people from other sides, but the same
    motions: there are few.

    Args:
        layer: the model's SMPL-X layer.
        sources: of the motions.
    """

    def __init__(self, layer: Any, sources: MotionSources) -> None:
        self.layer, self.sources = layer, sources
        self.facts: dict[str, Any] = dict(sources.facts)
        self._pools: dict[int, MotionPool] = {}

    def film(self, seed: int, index: int, frames: int) -> Filmed:
        """See `Filming`, also for `read`."""
        if frames not in self._pools:
            self._pools[frames] = MotionPool.made(self.layer, 0, frames, self.sources)
        pool, rng = self._pools[frames].pose.double().numpy(), np.random.default_rng([seed, index, 11])
        row = (index + int(np.random.default_rng([seed, 12]).integers(len(pool)))) % len(pool)
        start = int(rng.integers(pool.shape[1] - frames + 1))
        return FilmedBody(pool[row, start : start + frames], seed, index, rng)

    def read(self, output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        means = [
            mean.reshape(45)[MEAN_FINGER] for mean in (self.layer.left_hand_mean, self.layer.right_hand_mean)
        ]
        hands = [
            output[f"smplx_{side}hand_pose"][:, MEAN_FINGER] + mean
            for side, mean in zip("lr", means, strict=True)
        ]
        pose = torch.cat((output["smplx_root_pose"], output["smplx_body_pose"], *hands), dim=1)
        return pose.reshape(len(pose), -1, 3), output["smplx_shape"]


class FilmedBody:
    """A person of SynthBody in a motion.

    Args:
        pose: in a world with y up, `[T, 24, 3]`; the fingers are the person's own.
        seed, index: name the person.
        rng: draws the view.
    """

    def __init__(self, pose: Array, seed: int, index: int, rng: np.random.Generator) -> None:
        from scipy.spatial.transform import Rotation

        from shared_tmu.synth.body.scene import sample_body_scene

        self.scene = sample_body_scene(seed, index)
        self.seed, self.index = seed, index
        self.betas: Array = self.scene.betas
        fingers = [
            hand.reshape(45)[MEAN_FINGER] for hand in (self.scene.pose.left_hand, self.scene.pose.right_hand)
        ]
        turned = (body_view(rng) * Rotation.from_rotvec(pose[:, 0])).as_rotvec()
        hands = np.broadcast_to(np.stack(fingers), (len(pose), 2, 3))
        self.pose: Array = np.concatenate((turned[:, None], pose[:, 1:22], hands), axis=1)

    def crops(self, reading: int) -> Tensor:
        """See `Filmed`."""
        from shared_tmu.synth.body.generator import draw_body

        rng = np.random.default_rng([self.seed, self.index, 7, reading])
        found = []
        for frame, pose in enumerate(self.pose.astype(np.float32)):
            scene = replace(
                self.scene,
                pose=replace(self.scene.pose, root=pose[0], body=pose[1:22]),
                fill=self.scene.fill * float(np.exp(_GROWTH * rng.normal())),
                centre_shift=self.scene.centre_shift + _SHIFT * rng.normal(size=2).astype(np.float32),
                frame=frame,
            )
            found.append(draw_body(scene).image)
        return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255.0
