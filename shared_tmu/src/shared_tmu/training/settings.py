"""What a stage of training is, and what all stages share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from shared_tmu.errors import ConfigError
from shared_tmu.limits import Limit, check_limits, shown
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.drawing import LARGEST_SEED, Scenes

MOST_STAGES = 100
_STAGE_LIMITS = {
    "depth": Limit(1, 1000, unit="blocks"),
    "images": Limit(1, 10**12),
    "lr": Limit(0, 1, is_open=True),
    "batch_size": Limit(1, 2**16),
    "warmup": Limit(0, 10**9),
    "matrix_factor": Limit(0, 1000, is_open=True),
    "embedding_factor": Limit(0, 1000, is_open=True),
    "anneal": Limit(0, 1),
    "keep_patches": Limit(1, 2**16),
}
_WEIGHT = Limit(0, 1e6)
_NAME = re.compile(r"\w[\w.+-]{0,99}")  # also a folder's
_SETTING_LIMITS = {
    "workers": Limit(0, 256),
    "draw_processes": Limit(1, 256),
    "draw_first": Limit(1, 10**9),
    "val_seed": Limit(0, LARGEST_SEED),
    "val_count": Limit(1, 10**6),
    "val_every": Limit(1, 10**9),
    "save_every": Limit(1, 10**9),
    "max_minutes": Limit(0, 10**6, is_open=True),
    "seed": Limit(0, LARGEST_SEED - MOST_STAGES),
    "photos_share": Limit(0, 1),
}
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: also the folder it writes to.
        depth: blocks of the backbone; more than before grows it.
        images: number of training pictures, repeats included.
        seed, count: which scenes, and how many different ones.
        difficulty: settings of how difficult the scenes are.
        also: more sets of scenes to mix in.
        lr, warmup: as usual.
        batch_size: over all devices.
        matrix_factor, embedding_factor: how much larger the learning rates of the blocks' matrices (stepped
            by Muon) and of the patch and position embeddings are.
        weights: factors on losses.
        anneal: over which share of the steps the learning rate falls at last; 0 keeps it up for a stage that
            another one follows.
        keep_patches: how many patches of a picture training looks at, those that show its subject first; None
            for all. About half of them make a step nearly twice as fast; the last stage should see all.
    """

    name: str
    depth: int
    images: int
    seed: int
    count: int
    difficulty: Difficulty = field(default_factory=Difficulty)
    lr: float = 2e-3
    batch_size: int = 64
    warmup: int = 200
    matrix_factor: float = 1.0
    embedding_factor: float = 1.0
    weights: dict[str, float] = field(default_factory=dict)
    anneal: float = 1.0
    keep_patches: int | None = None
    also: list[Scenes] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name == "curve.csv":
            raise ConfigError(
                f"a stage cannot be called {shown(self.name)!r}: its name is that of a folder, letters, "
                "digits, '-' and '_'."
            )
        check_limits(self, _STAGE_LIMITS)
        for name, weight in self.weights.items():
            if not _WEIGHT.holds(weight):
                raise ConfigError(f"weights.{name}={weight} was asked for; it has to be {_WEIGHT}.")
        Scenes(self.seed, self.count, self.difficulty)  # refuses what it cannot be

    @property
    def sets(self) -> list[Scenes]:
        """Each set of scenes."""
        return [Scenes(self.seed, self.count, self.difficulty), *self.also]

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return max(self.images // self.batch_size, 1)


@dataclass(frozen=True)
class Setting:
    """What all stages share.

    Attributes:
        out: folder of checkpoints and curve.
        cache: folder of the training pictures.
        accelerator, devices, precision: as Lightning's Trainer takes them.
        workers: processes that read pictures, for each device; None takes 1 beside a CPU and half of the
            cores beside GPUs.
        draw_processes: processes that draw missing ones; None takes all cores.
        draw_first: pictures to have before a stage begins, the rest being drawn beside it; None takes all of
            them on a CPU and 4000 on a GPU.
        val_seed, val_count: which held-out scenes, and how many.
        val_every: optimiser steps between two validations.
        save_every: optimiser steps between two checkpoints, of up to 80 MB.
        max_minutes: time for all stages and runs, drawing included. Each stage gets its part of what is
            left, by pictures and blocks, and the learning rate falls to its end with the time or the steps,
            whichever is ahead. None has no limit.
        seed: of order, augmentation and dropped paths.
        compile: whether the backbone's blocks run through `torch.compile`.
        photos: folder of photographs of hands to mix in, whose key points MediaPipe finds; None for none.
        photos_share: how much of each batch they are.
    """

    out: Path
    cache: Path
    accelerator: str = "auto"
    devices: int | str = "auto"
    precision: str = "bf16-mixed"
    workers: int | None = None
    draw_processes: int | None = None
    draw_first: int | None = None
    val_seed: int = 900_000
    val_count: int = 500
    val_every: int = 200
    save_every: int = 250
    max_minutes: float | None = None
    seed: int = 0
    compile: bool = False
    photos: Path | None = None
    photos_share: float = 0.2

    def __post_init__(self) -> None:
        check_limits(self, _SETTING_LIMITS)
        check_device(self.accelerator, self.precision)

    @property
    def val_scenes(self) -> Scenes:
        """What validation sees."""
        return Scenes(self.val_seed, self.val_count, Difficulty())


def check_device(accelerator: str, precision: str) -> None:
    """Refuse an accelerator or a precision that training does not know.

    Raises:
        ConfigError: there is no such one.
    """
    for name, value, known in (
        ("accelerator", accelerator, ACCELERATORS),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise ConfigError(f"{name}={shown(value)} was asked for; there are {', '.join(known)}.")
