"""Features of a frozen model on rendered clips, made once and kept in a folder, one file per clip.

A clip is read several times: at every schedule, and each time with other noise in its boxes, so that the
decoder learns from merged features what merging does to them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.errors import ConfigError
from shared_tmu.files import replacing
from shared_tmu.programs.features import FrameFeature
from shared_tmu.programs.identity import digest_of, weights_sha256
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.schedule import Schedule
from shared_tmu.synth.shards import is_there
from shared_tmu.training.motion.filming import Filmed, Filming, filming_of
from shared_tmu.training.motion.sources import MotionSources

VERSION = 2
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
        sources: where bodies have their motion from; hands move as they are drawn.
    """

    program: ModelProgram
    model: nn.Module
    cache: Path
    seed: int
    frames: int
    schedules: Sequence[str]
    sources: MotionSources = field(default_factory=MotionSources)

    @cached_property
    def filming(self) -> Filming:
        """How the clips are made."""
        return filming_of(self.program.estimates, self.model, self.sources)

    @property
    def folder(self) -> Path:
        """Where these files are; another model or schedule has another folder."""
        facts = {
            "version": VERSION,
            "weights": weights_sha256(self.model),
            "frames": self.frames,
            "schedules": [str(Schedule.parse(one)) for one in self.schedules],
            **self.filming.facts,
        }
        return self.cache / f"clips-{self.program.name.lower()}-{self.seed}-{digest_of(facts)[:8]}"

    def make(self, count: int) -> list[Path]:
        """The files of the first `count` clips; those that are missing are made now.

        Each has `pose` `[T, J, 3]` and `betas` `[10]`, the truth in radians; and for V readings `feature`
        `[V, T, C]` in float16, `pred_pose` `[V, T, J, 3]` in radians, `pred_betas` `[V, T, 10]`.

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
            found = self._read(self.filming.film(self.seed, index, self.frames), feature)
            with replacing(path) as beside:
                np.savez(beside, **found)
            log.info("clip %d of %d", index + 1, count)
        return paths

    @torch.inference_mode()
    def _read(self, clip: Filmed, feature: FrameFeature) -> Arrays:
        parts = [
            self._reading(clip.crops(number), schedule, feature)
            for number, schedule in enumerate(self.schedules)
        ]
        truth = {"pose": clip.pose, "betas": clip.betas}
        kept = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        return {**{name: array.astype(np.float32) for name, array in truth.items()}, **kept}

    def _reading(self, crops: Tensor, schedule: str, feature: FrameFeature) -> Arrays:
        outputs: list[Mapping[str, Any]] = []
        with self.program.patch(self.model, schedule), feature.captured(self.model) as found:
            for start in range(0, len(crops), _CROPS_AT_ONCE):
                outputs.append(self.model({"img": crops[start : start + _CROPS_AT_ONCE]}))
        pose, betas = (torch.cat(parts) for parts in zip(*map(self.filming.read, outputs), strict=True))
        return {
            "feature": torch.cat(found).numpy().astype(np.float16),
            "pred_pose": pose.numpy().astype(np.float32),
            "pred_betas": betas.numpy().astype(np.float32),
        }
