"""The recipe of `train.py --config-name motion`: typed, and checked before training begins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shared_tmu.errors import ConfigError, TMUError
from shared_tmu.limits import Limit, check_limits, shown
from shared_tmu.schedule import Schedule
from shared_tmu.temporal.config import PRESETS, TemporalConfig
from shared_tmu.temporal.skeletons import HAND
from shared_tmu.training.drawing import LARGEST_SEED
from shared_tmu.training.kept_seeds import refuse_kept
from shared_tmu.training.motion.sources import MotionSources
from shared_tmu.training.settings import check_device

_STAGE_LIMITS = {
    "steps": Limit(1, 10**9),
    "batch_size": Limit(1, 2**16),
    "lr": Limit(0, 1, is_open=True),
    "warmup": Limit(0, 10**9),
}
_LIMITS = {
    "motions": Limit(0, 10**7),
    "clips": Limit(1, 10**6),
    "val_clips": Limit(0, 10**6),
    "data_seed": Limit(0, LARGEST_SEED),
    "val_seed": Limit(0, LARGEST_SEED),
    "seed": Limit(0, LARGEST_SEED),
    "divergence": Limit(0, 1),
    "last_share": Limit(0, 1),
    "simulated": Limit(0, 1),
    "blind": Limit(0, 1),
    "save_every": Limit(1, 10**9),
}


@dataclass(frozen=True)
class MotionStage:
    """One of the two stages.

    Attributes:
        steps, batch_size, lr, warmup: settings of the optimiser; the rate ends at 0 as a cosine.
    """

    steps: int
    batch_size: int = 32
    lr: float = 1e-4
    warmup: int = 20

    def __post_init__(self) -> None:
        check_limits(self, _STAGE_LIMITS)


@dataclass(frozen=True)
class MotionRecipe:
    """Training of a temporal decoder for weights that stay as they are.

    Attributes:
        out: folder of checkpoints and, unless `export_to` says otherwise, of the decoder.
        cache: folder of the features.
        vae, denoiser: the two stages.
        preset: row of `temporal.config.PRESETS`.
        sizes: what differs from it.
        motions, amass, humanoid: see `MotionSources`.
        data_seed, clips: rendered clips whose features the second stage reads.
        val_seed, val_clips: clips on which the result is measured, none with 0.
        schedules: at which every clip is read.
        divergence: weight of the VAE's divergence from a normal distribution.
        last_share: share of a batch at the last time, the only one that is used afterwards.
        simulated: share of a batch that is motion of the first stage with errors of the model's head from
            rendered clips instead of a clip with its features.
        blind: share of the rows from clips that get the mean feature instead of their own, too: few clips are
            known by heart by their features.
        checkpoint, body_path: weights, and the body model's file; None takes the bundled ones.
        export_to: folder of the decoder.
        accelerator, devices, precision: arguments of Lightning's Trainer.
        save_every: steps between two checkpoints.
        seed: of the order.
    """

    out: Path
    cache: Path
    vae: MotionStage
    denoiser: MotionStage
    recipe: str = "motion"
    preset: str = "thin"
    sizes: dict[str, Any] = field(default_factory=dict)
    motions: int = 600
    amass: Path | None = None
    humanoid: str | None = None
    data_seed: int = 51
    clips: int = 40
    val_seed: int = 52
    val_clips: int = 3
    schedules: list[str] = field(default_factory=lambda: ["off", "5x20", "8x16", "8x16"])
    divergence: float = 1e-4
    last_share: float = 0.75
    simulated: float = 0.5
    blind: float = 0.0
    checkpoint: Path | None = None
    body_path: Path | None = None
    export_to: Path | None = None
    accelerator: str = "cpu"
    devices: int | str = 1
    precision: str = "32-true"
    save_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS)
        check_device(self.accelerator, self.precision)
        refuse_kept(self.data_seed, "data_seed is")
        refuse_kept(self.val_seed, "val_seed is")
        if self.data_seed == self.val_seed:
            raise ConfigError(
                f"data_seed and val_seed are both {self.data_seed}: give one of them another seed, because "
                "the result must be measured on clips that were not in training."
            )
        if not self.schedules:
            raise ConfigError("schedules is empty: name at least one, such as off.")
        for one in self.schedules:
            try:
                Schedule.parse(one)
            except TMUError as error:
                raise ConfigError(f"schedules: {error}") from error
        _ = self.config(HAND.width, "hand")

    @property
    def sources(self) -> MotionSources:
        """Where motion comes from."""
        return MotionSources(self.motions, self.amass, self.humanoid)

    def config(self, condition: int, skeleton: str) -> TemporalConfig:
        """The sizes, for conditions of this width and motion of this skeleton.

        Raises:
            ConfigError: there is no such preset, or a size is wrong or follows from others.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"preset={shown(self.preset)} was asked for; use one of {', '.join(PRESETS)}.")
        fixed = {"skeleton", "condition"} & set(self.sizes)
        if fixed:
            raise ConfigError(f"sizes.{min(fixed)} is not a setting; it follows from the model.")
        base = replace(PRESETS[self.preset], condition=condition)
        return TemporalConfig.read({**base.as_dict(), **self.sizes, "skeleton": skeleton})
