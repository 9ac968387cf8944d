"""Features of a frozen model on rendered clips, made once and kept in a folder, one file per clip.

A clip is read several times: at every schedule, and each time with other noise in its boxes, so that the
decoder learns from merged features what merging does to them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.errors import ConfigError
from shared_tmu.files import replacing
from shared_tmu.pictures.geometry import rotmat_to_axis_angle
from shared_tmu.pictures.hand_crops import hand_crop
from shared_tmu.programs.features import FrameFeature
from shared_tmu.programs.identity import digest_of, weights_sha256
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.schedule import Schedule
from shared_tmu.synth.clips import HandClip, sample_clip
from shared_tmu.synth.shards import is_there

VERSION = 1
"""Changes when equal clips give other features."""
_CROPS_AT_ONCE = 27
log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ClipFeatures:
    """The features of the clips of one seed, by one model.

    Attributes:
        program: description of the model.
        model: in eval mode, on the CPU.
        cache: folder of all such sets.
        seed: names the sequence of clips.
        frames: length of each clip.
        schedules: each clip is read at every one of them.
    """

    program: ModelProgram
    model: nn.Module
    cache: Path
    seed: int
    frames: int
    schedules: Sequence[str]

    @property
    def folder(self) -> Path:
        """Where these files are; another model or schedule has another folder."""
        facts = {
            "version": VERSION,
            "weights": weights_sha256(self.model),
            "frames": self.frames,
            "schedules": [str(Schedule.parse(one)) for one in self.schedules],
        }
        return self.cache / f"clips-{self.program.name.lower()}-{self.seed}-{digest_of(facts)[:8]}"

    def make(self, count: int) -> list[Path]:
        """The files of the first `count` clips; those that are missing are made now.

        Each has `root` `[T, 3]`, `fingers` `[T, 15, 3]` and `betas` `[10]`, the truth in radians; and for V
        readings `feature` `[V, T, C]` in float16, `pred_pose` `[V, T, 16, 3]` in radians, `pred_betas`
        `[V, T, 10]`.

        Raises:
            ConfigError: the model has no feature for a temporal decoder.
        """
        feature = self.program.feature
        if feature is None:
            raise ConfigError(f"{self.program.name} declares no feature that a temporal decoder could read.")
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{index:05d}.npz" for index in range(count)]
        for index, path in enumerate(paths):
            if is_there(path):
                continue
            found = self._read(sample_clip(self.seed, index, self.frames), feature)
            with replacing(path) as beside:
                np.savez(beside, **found)
            log.info("clip %d of %d", index + 1, count)
        return paths

    @torch.inference_mode()
    def _read(self, clip: HandClip, feature: FrameFeature) -> Arrays:
        images = [np.ascontiguousarray(clip.image(frame)[..., ::-1]) for frame in range(len(clip))]
        parts = [
            self._reading(images, clip.boxes(reading=number), schedule, feature)
            for number, schedule in enumerate(self.schedules)
        ]
        motion = clip.motion
        truth = {"root": motion.root, "fingers": motion.fingers, "betas": motion.betas}
        kept = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        return {**{name: array.astype(np.float32) for name, array in truth.items()}, **kept}

    def _reading(
        self,
        images: Sequence[NDArray[np.uint8]],
        boxes: NDArray[np.float64],
        schedule: str,
        feature: FrameFeature,
    ) -> Arrays:
        size = int(self.model.config.image_size)  # type: ignore[union-attr, arg-type]
        crops = np.stack(
            [
                hand_crop(image, box, True, -1, size, antialias=False).img
                for image, box in zip(images, boxes, strict=True)
            ]
        )
        outputs: list[Any] = []
        with self.program.patch(self.model, schedule), feature.captured(self.model) as found:
            for start in range(0, len(crops), _CROPS_AT_ONCE):
                img = torch.from_numpy(crops[start : start + _CROPS_AT_ONCE])
                outputs.append(self.model({"img": img})["pred_mano_params"])
        pose = torch.cat([torch.cat((one["global_orient"], one["hand_pose"]), dim=1) for one in outputs])
        betas: Tensor = torch.cat([one["betas"] for one in outputs])
        return {
            "feature": torch.cat(found).numpy().astype(np.float16),
            "pred_pose": rotmat_to_axis_angle(pose).numpy().astype(np.float32),
            "pred_betas": betas.numpy().astype(np.float32),
        }
