"""The settings of a training stage, and the settings that all stages share."""

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
    "full_share": Limit(0, 1),
    "hard_share": Limit(0, 0.9),
    "silhouette_block": Limit(0, 999),
}
_WEIGHT = Limit(0, 1e6)
_NAME = re.compile(r"\w[\w.+-]{0,99}")  # it is also the name of a folder
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
    "ema": Limit(0, 0.999999, is_open=True),
}
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: name of the stage, and of the folder to which it writes.
        depth: number of blocks of the backbone; more than in the previous stage grows it.
        images: number of training pictures, including repeats.
        seed, count: seed of the scenes, and number of different scenes.
        difficulty: settings for the difficulty of the scenes.
        also: more sets of scenes to mix in.
        lr, warmup: peak learning rate, and steps of linear warm-up.
        batch_size: pictures per step, over all devices.
        matrix_factor, embedding_factor: factors on the learning rates of the blocks' matrices (stepped by
            Muon), and of the patch and position embeddings.
        weights: factors of the losses.
        anneal: share of the steps, at the end, over which the learning rate falls; 0 keeps it high for a
            stage that another one follows.
        keep_patches: number of patches of a picture that training uses, first those that show its subject;
            None for all. About half of them make a step nearly twice as fast; the last stage should see all.
        full_share: share of the steps, chosen by chance, that use all patches although `keep_patches` is set.
        hard_share: share of the turns of the pictures in a round that follow their last losses; each picture
            keeps `1 - hard_share` turns on average, and new ones have one. 0 gives each one turn.
        silhouette_block: block whose input tokens learn how much of their patch shows the subject, by the
            loss `silhouette`; None for none.
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
    full_share: float = 0.0
    hard_share: float = 0.0
    silhouette_block: int | None = None
    also: list[Scenes] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name == "curve.csv":
            raise ConfigError(
                f"a stage cannot have the name {shown(self.name)!r}: it is also a folder's name, so use "
                "letters, digits, '-' and '_'."
            )
        check_limits(self, _STAGE_LIMITS)
        if self.full_share and self.keep_patches is None:
            raise ConfigError(
                f"full_share={self.full_share:g} was asked for, but without keep_patches each step sees all "
                "patches: give keep_patches, such as 96, or leave full_share out."
            )
        if self.silhouette_block is not None and self.silhouette_block >= self.depth:
            raise ConfigError(
                f"silhouette_block={self.silhouette_block} was asked for, but this stage has blocks 0 "
                f"to {self.depth - 1}: use one of them, such as {min(2, self.depth - 1)}."
            )
        if "silhouette" in self.weights and self.silhouette_block is None:
            raise ConfigError(
                "weights.silhouette was given without silhouette_block, the block whose tokens are read: "
                "give both or neither."
            )
        for name, weight in self.weights.items():
            if not _WEIGHT.holds(weight):
                raise ConfigError(f"weights.{name}={weight} was asked for; it must be {_WEIGHT}.")
        Scenes(self.seed, self.count, self.difficulty)  # raises an error for wrong values

    @property
    def sets(self) -> list[Scenes]:
        """All sets of scenes."""
        return [Scenes(self.seed, self.count, self.difficulty), *self.also]

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return max(self.images // self.batch_size, 1)


PHOTOS_SHARE = 0.2
"""Share of photographs in each batch, unless another is asked for."""


@dataclass(frozen=True)
class Setting:
    """Settings that all stages share.

    Attributes:
        out: folder of checkpoints and curve.
        cache: folder of the training pictures.
        accelerator, devices, precision: arguments of Lightning's Trainer.
        workers: number of processes that read pictures, per device; None takes 1 for a CPU and half of the
            cores for GPUs.
        draw_processes: number of processes that draw missing pictures; None takes all cores.
        draw_first: number of pictures that must exist before a stage begins, while the rest is drawn during
            training; None takes all of them on a CPU and 4000 on a GPU.
        val_seed, val_count: seed and number of the held-out scenes.
        val_every: optimiser steps between two validations.
        save_every: optimiser steps between two checkpoints, of up to 80 MB.
        max_minutes: time limit for all stages and runs, including drawing. Each stage gets its share of the
            remaining time, by pictures and blocks, and the learning rate falls to its end value with the time
            or the steps, whichever comes first. None for no limit.
        seed: seed of order, augmentation and dropped paths.
        ema: decay per step of an exponential moving average of the weights, which is what is validated and
            exported; each stage has its own, and the weights themselves are trained as without it. None for
            no average.
        compile: whether the backbone's blocks are compiled by `torch.compile`.
        photos: folder of photographs of hands to mix in, whose key points MediaPipe finds; None for none.
        photos_share: their share of each batch.
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
    ema: float | None = None
    compile: bool = False
    photos: Path | None = None
    photos_share: float = PHOTOS_SHARE

    def __post_init__(self) -> None:
        check_limits(self, _SETTING_LIMITS)
        check_device(self.accelerator, self.precision)
        if self.photos is None and self.photos_share != PHOTOS_SHARE:
            raise ConfigError(
                f"photos_share={self.photos_share:g} was asked for, but without photos there are none to mix "
                "in: give photos=FOLDER, or leave photos_share out."
            )

    @property
    def val_scenes(self) -> Scenes:
        """The scenes of the validation."""
        return Scenes(self.val_seed, self.val_count, Difficulty())


def check_device(accelerator: str, precision: str) -> None:
    """Refuse an accelerator or a precision that training does not support.

    Raises:
        ConfigError: it is not supported.
    """
    for name, value, known in (
        ("accelerator", accelerator, ACCELERATORS),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise ConfigError(f"{name}={shown(value)} was asked for; use one of {', '.join(known)}.")
