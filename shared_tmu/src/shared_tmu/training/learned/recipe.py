"""The recipe of `train.py --config-name learned`: typed, and checked before training begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from shared_tmu.errors import ConfigError, TMUError
from shared_tmu.limits import Limit, check_limits, shown
from shared_tmu.methods import METHODS
from shared_tmu.schedule import Schedule
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.drawing import LARGEST_SEED, Scenes
from shared_tmu.training.kept_seeds import refuse_kept
from shared_tmu.training.learned.module import LearnedOptions
from shared_tmu.training.learned.objective import OBJECTIVES
from shared_tmu.training.settings import check_device

_LIMITS = {
    "count": Limit(1, 10**7, unit="pictures"),
    "val_count": Limit(1, 10**6, unit="pictures"),
    "seed": Limit(0, LARGEST_SEED),
    "data_seed": Limit(0, LARGEST_SEED),
    "val_seed": Limit(0, LARGEST_SEED),
    "images": Limit(1, 10**12, unit="pictures"),
    "batch_size": Limit(1, 2**16),
    "lr": Limit(0, 10, is_open=True),
    "flops_weight": Limit(0, 1e6),
    "warmup": Limit(0, 10**9),
    "workers": Limit(0, 256),
    "draw_processes": Limit(1, 256),
    "save_every": Limit(1, 10**9),
}


@dataclass(frozen=True)
class LearnedRecipe:
    """Training of what a method learns, for weights that stay as they are.

    Attributes:
        method: row of the table that learns.
        r: tokens to remove per layer; for methods that learn how many, the budget in FLOPs.
        out: folder of the checkpoint and, unless `export_to` says otherwise, of the learned file.
        cache: folder of the training pictures.
        data_seed, count, difficulty: scenes of the training pictures.
        val_seed, val_count: scenes on which the result is measured.
        images, batch_size, warmup: pictures in all, those of a step, and steps of warm-up.
        objective: what the merged model is compared with: the `truth`, or itself `unmerged`.
        lr, flops_weight: None takes the method's own.
        checkpoint, body_path: weights, and the body model's file; None takes the bundled ones.
        export_to: folder of the learned file.
        accelerator, devices, precision: arguments of Lightning's Trainer.
        workers, draw_processes: processes that read and that draw pictures.
        save_every: steps between two checkpoints.
        seed: seed of the order.
    """

    method: str
    r: str | int
    out: Path
    cache: Path
    data_seed: int
    count: int
    val_seed: int
    val_count: int
    images: int
    batch_size: int
    recipe: str = "learned"
    difficulty: Difficulty = field(default_factory=Difficulty)
    warmup: int = 10
    objective: str = "truth"
    lr: float | None = None
    flops_weight: float | None = None
    checkpoint: Path | None = None
    body_path: Path | None = None
    export_to: Path | None = None
    accelerator: str = "auto"
    devices: int | str = 1
    precision: str = "32-true"
    workers: int = 1
    draw_processes: int | None = None
    save_every: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS)
        check_device(self.accelerator, self.precision)
        learning = [name for name, row in METHODS.items() if row.learn is not None]
        if self.method not in learning:
            raise ConfigError(
                f"method={shown(self.method)} was asked for; these learn: {', '.join(learning)}."
            )
        if self.objective not in OBJECTIVES:
            raise ConfigError(
                f"objective={shown(self.objective)} was asked for; use {' or '.join(OBJECTIVES)}."
            )
        try:
            _ = self.schedule
        except TMUError as error:
            raise ConfigError(f"r: {error}") from error
        if self.count < self.batch_size or self.images < self.batch_size:
            raise ConfigError(
                f"count={self.count} and images={self.images} were asked for; both must be at least the "
                f"{self.batch_size} pictures of a batch."
            )
        refuse_kept(self.data_seed, "data_seed is")
        refuse_kept(self.val_seed, "val_seed is")
        if self.data_seed == self.val_seed:
            raise ConfigError(
                f"data_seed and val_seed are both {self.data_seed}: give one of them another seed, because "
                "the result must be measured on pictures that were not in training."
            )

    @property
    def schedule(self) -> Schedule:
        """Tokens to remove."""
        return Schedule.parse(self.r)

    @property
    def scenes(self) -> tuple[Scenes, Scenes]:
        """Of training and of validation."""
        return (
            Scenes(self.data_seed, self.count, self.difficulty),
            Scenes(self.val_seed, self.val_count, self.difficulty),
        )

    @property
    def options(self) -> LearnedOptions:
        """Options of the module."""
        steps = self.images // self.batch_size
        return LearnedOptions(steps, self.lr, self.flops_weight, self.objective, self.warmup)
