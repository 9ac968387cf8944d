"""The recipe that a configuration of `train.py` describes: typed dataclasses, checked before training
begins."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shared_tmu.errors import ConfigError
from shared_tmu.limits import Limit, check_limits, shown
from shared_tmu.training.drawing import LARGEST_SEED
from shared_tmu.training.kept_seeds import refuse_kept
from shared_tmu.training.learned.recipe import LearnedRecipe
from shared_tmu.training.motion.recipe import MotionRecipe
from shared_tmu.training.published_losses import LossWeights
from shared_tmu.training.schema import read_as
from shared_tmu.training.settings import MOST_STAGES, Setting, Stage, check_device

_SHARED = ("out", "cache", "photos", "photos_share")  # settings on the same level as `setting`
_PUBLISHED_LIMITS = {
    "data_seed": Limit(0, LARGEST_SEED),
    "count": Limit(1, 10**7, unit="pictures"),
    "steps": Limit(1, 10**9),
    "batch_size": Limit(1, 2**16),
    "lr": Limit(0, 1, is_open=True),
    "weight_decay": Limit(0, 1),
    "workers": Limit(0, 256),
    "save_every": Limit(1, 10**9),
    "seed": Limit(0, LARGEST_SEED),
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagesRecipe:
    """Training in stages on renders.

    Attributes:
        model: sizes of the model, except its depth, which each stage has.
        stages: stages by name, in order; None for a stage that is left out.
        setting: settings that all stages share.
        export_to: folder for the trained file.
        export_only: do not train, only export the newest checkpoint.
        start_from: weights of a model of the same sizes to start from.
        backbone_from: weights whose backbone is used.
    """

    model: dict[str, Any]
    stages: dict[str, Stage | None]
    setting: Setting
    export_to: Path
    recipe: str = "stages"
    export_only: bool = False
    start_from: Path | None = None
    backbone_from: Path | None = None

    def __post_init__(self) -> None:
        if not self.run:
            raise ConfigError("training was asked for without stages: give at least one.")
        if len(self.run) > MOST_STAGES:
            raise ConfigError(f"{len(self.run)} stages were asked for, but the limit is {MOST_STAGES}.")

    @property
    def run(self) -> list[Stage]:
        """The stages that are not left out."""
        return [stage for stage in self.stages.values() if stage is not None]


@dataclass(frozen=True)
class PublishedRecipe:
    """Training of existing weights with the published losses and optimiser.

    Attributes:
        out: folder of the checkpoint and the trained file.
        cache: folder of the training pictures.
        data_seed, count: seed and number of the training pictures.
        steps, batch_size, lr, weight_decay: settings of the optimiser.
        losses: factors by name.
        accelerator, devices, precision: arguments of Lightning's Trainer.
        workers: processes that read pictures.
        save_every: steps between two checkpoints.
        seed: seed of the order.
        checkpoint: weights to start from; None takes the bundled ones.
        mano_path: the body model's file; None takes the checkpoint's own.
    """

    out: Path
    cache: Path
    data_seed: int
    count: int
    steps: int
    batch_size: int
    lr: float
    weight_decay: float
    recipe: str = "published"
    losses: dict[str, float] = field(default_factory=dict)
    accelerator: str = "auto"
    devices: int | str = "auto"
    precision: str = "bf16-mixed"
    workers: int = 1
    save_every: int = 100
    seed: int = 0
    checkpoint: Path | None = None
    mano_path: Path | None = None

    def __post_init__(self) -> None:
        refuse_kept(self.data_seed, "data_seed is")
        check_limits(self, _PUBLISHED_LIMITS)
        check_device(self.accelerator, self.precision)
        if self.count < self.batch_size:
            raise ConfigError(
                f"count={self.count} is fewer than a batch of {self.batch_size}: "
                "raise it or lower batch_size."
            )
        try:
            LossWeights.from_dict(self.losses)
        except ConfigError as error:
            raise ConfigError(f"losses: {error}") from error

    @property
    def weights(self) -> LossWeights:
        """The factors of the losses."""
        return LossWeights.from_dict(self.losses)


def read_recipe(config: DictConfig) -> StagesRecipe | PublishedRecipe | LearnedRecipe | MotionRecipe:
    """The recipe that a configuration describes, with every value checked for type and range.

    Raises:
        ConfigError: a value is wrong; one sentence about the first.
    """
    raw = _plain(config)
    name = raw.get("recipe", "stages")
    known = [one.name for one in fields(StagesRecipe)]
    for key in raw if name == "stages" else ():
        if key not in (*known, *_SHARED):
            raise ConfigError(f"{key} does not exist; the settings are {', '.join((*known, *_SHARED))}.")
    others = {"published": PublishedRecipe, "learned": LearnedRecipe, "motion": MotionRecipe}
    if name in others and "stages" in raw:
        raise ConfigError(
            f"recipe={name} was asked for, but the configuration has stages: use --config-name {name}."
        )
    if name in others:
        return read_as(others[name], raw)
    if name != "stages":
        raise ConfigError(f"recipe={shown(name)} was asked for; use stages, published, learned or motion.")
    setting = raw.get("setting", {})
    if not isinstance(setting, Mapping):
        raise ConfigError(
            f"setting={shown(setting)} was asked for; expected settings by name, as in setting.seed=1."
        )
    twice = next((key for key in _SHARED if key in setting), None)
    if twice:
        raise ConfigError(f"setting.{twice} does not exist; did you mean {twice!r}?")
    raw["setting"] = {**setting, **{key: raw.pop(key) for key in _SHARED if key in raw}}
    stages = raw.get("stages")
    if isinstance(stages, Mapping):
        raw["stages"] = {key: _named(key, stage) for key, stage in stages.items()}
    try:
        return read_as(StagesRecipe, raw)
    except ConfigError as error:
        raise ConfigError(_as_typed(str(error))) from error


def _plain(config: DictConfig) -> dict[str, Any]:
    """The configuration's values, with interpolations resolved."""
    try:
        found: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error
    return {str(key): value for key, value in found.items()}


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse settings that hydra accepts without a warning but that have no effect.

    Raises:
        ConfigError: a section is to be replaced by an empty one, which hydra does not do.
    """
    for one in OverridesParser.create().parse_overrides(list(overrides)):
        if one.value() == {} and not one.is_delete():
            raise ConfigError(
                f"{one.input_line} was asked for, but it changes nothing: {{}} adds nothing to the existing "
                "entries. Remove an entry with NAME=null."
            )


def _named(key: Any, stage: Any) -> Any:
    """Give each stage its name, which is its key."""
    if isinstance(stage, Mapping) and "name" in stage:
        raise ConfigError(f"stages.{key}.name is not a setting; the name of this stage is its key, {key}.")
    return {"name": str(key), **stage} if isinstance(stage, Mapping) else stage


def _as_typed(text: str) -> str:
    """A message with the full names of settings such as `out`."""
    for key in _SHARED:
        text = text.replace(f"setting.{key}", key).replace(f"setting: {key}", key)
    return text


def check_stages(stages: Sequence[Stage], setting: Setting) -> None:
    """Find settings that would end training early, before hours are spent on it.

    Raises:
        ConfigError: stages do not fit each other, the photographs or the validation.
    """
    if not stages:
        raise ConfigError("training was asked for without stages: give at least one.")
    refuse_kept(setting.val_seed, "validation uses")
    for stage in stages:
        _check_stage(stage, setting)
    for before, after in pairwise(stages):
        if after.depth < before.depth:
            raise ConfigError(
                f"stage {after.name!r} has {after.depth} blocks, but the stage before it, "
                f"{before.name!r}, has {before.depth}: a trunk can only grow, so use {before.depth} or more."
            )


def _check_stage(stage: Stage, setting: Setting) -> None:
    count = sum(scenes.count for scenes in stage.sets)
    if count < stage.batch_size:
        raise ConfigError(
            f"stage {stage.name!r} has {count} pictures, fewer than a batch of {stage.batch_size}: "
            "raise its count or lower its batch_size."
        )
    if stage.images < stage.batch_size:
        raise ConfigError(
            f"stage {stage.name!r} trains on {stage.images} pictures, fewer than a batch of "
            f"{stage.batch_size}: raise its images or lower its batch_size."
        )
    if any(scenes.seed == setting.val_seed for scenes in stage.sets):
        raise ConfigError(
            f"stage {stage.name!r} trains on seed {setting.val_seed}, which is also the validation's seed: "
            "give one of them another seed, because validation must use pictures that were not in training."
        )
    for scenes in stage.sets:
        refuse_kept(scenes.seed, f"stage {stage.name!r} trains on")
    if setting.photos and not 0 < round(setting.photos_share * stage.batch_size) < stage.batch_size:
        raise ConfigError(
            f"photos_share={setting.photos_share} was asked for, but each batch of stage "
            f"{stage.name!r} ({stage.batch_size} pictures) needs at least one photograph and one render: use "
            "a share such as 0.2, or leave photos out."
        )
    if stage.hard_share and stage.weights.get("head", 1.0) == 0:
        raise ConfigError(
            f"stage {stage.name!r} has hard_share={stage.hard_share:g}, but with weights.head=0 nothing says "
            "how hard a picture is: leave one of them out."
        )
    if stage.warmup > stage.steps:
        text = (
            "Stage %r has %d steps of warm-up but only %d steps: it ends before the learning rate reaches lr."
        )
        log.warning(text, stage.name, stage.warmup, stage.steps)


def check_folders(folders: Mapping[str, Path]) -> None:
    """Create folders and try to write into them.

    Args:
        folders: folders by the name of their setting.

    Raises:
        ConfigError: one of them cannot be created or written to.
    """
    for name, folder in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder) as file:
                file.write(b".")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                f"{name}={shown(folder)} cannot be written to ({reason}): choose another folder."
            ) from error
