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
from shared_tmu.training.published_losses import LossWeights
from shared_tmu.training.schema import read_as
from shared_tmu.training.settings import MOST_STAGES, Setting, Stage, check_device

_SHARED = ("out", "cache", "photos", "photos_share")  # settings that stand beside `setting`
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
        model: sizes of the model, but for its depth, which stages say.
        stages: by name, in order; None is one that is left out.
        setting: what they share.
        export_to: folder of the trained file.
        export_only: do not train, export what there is.
        start_from: weights of the same sizes to go on from.
        backbone_from: weights whose backbone to take.
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
            raise ConfigError("training was asked for with no stages: name at least one.")
        if len(self.run) > MOST_STAGES:
            raise ConfigError(f"{len(self.run)} stages were asked for; {MOST_STAGES} are the most.")

    @property
    def run(self) -> list[Stage]:
        """The stages that are not left out."""
        return [stage for stage in self.stages.values() if stage is not None]


@dataclass(frozen=True)
class PublishedRecipe:
    """The published losses and optimiser on existing weights.

    Attributes:
        out: folder of the checkpoint and the trained file.
        cache: folder of the training pictures.
        data_seed, count: which pictures, and how many.
        steps, batch_size, lr, weight_decay: as usual.
        losses: factors, by name.
        accelerator, devices, precision: as Lightning's Trainer takes them.
        workers: processes that read pictures.
        save_every: steps between two checkpoints.
        seed: of the order.
        checkpoint: weights to go on from; None takes the bundled ones.
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
        """Factors of the losses."""
        return LossWeights.from_dict(self.losses)


def read_recipe(config: DictConfig) -> StagesRecipe | PublishedRecipe:
    """Which recipe a configuration asks for, every value of the right type and in its range.

    Raises:
        ConfigError: one sentence about the first value that is not.
    """
    raw = _plain(config)
    name = raw.get("recipe", "stages")
    known = [one.name for one in fields(StagesRecipe)]
    for key in raw if name == "stages" else ():
        if key not in (*known, *_SHARED):
            raise ConfigError(f"{key} does not exist; there are {', '.join((*known, *_SHARED))}.")
    if name == "published" and "stages" in raw:
        raise ConfigError("recipe=published was asked for beside stages: use --config-name published.")
    if name == "published":
        return read_as(PublishedRecipe, raw)
    if name != "stages":
        raise ConfigError(f"recipe={shown(name)} was asked for; there are stages and published.")
    setting = raw.get("setting", {})
    if not isinstance(setting, Mapping):
        raise ConfigError(f"setting={shown(setting)} was asked for; it has to be settings by name.")
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
    """The configuration's values, interpolations resolved."""
    try:
        found: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error
    return {str(key): value for key, value in found.items()}


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse settings that hydra takes without a word and without an effect.

    Raises:
        ConfigError: a section is to be replaced by an empty one; hydra adds nothing to it instead.
    """
    for one in OverridesParser.create().parse_overrides(list(overrides)):
        if one.value() == {} and not one.is_delete():
            raise ConfigError(
                f"{one.input_line} was asked for, which changes nothing: {{}} adds nothing to what is there. "
                "Leave an entry out with NAME=null."
            )


def _named(key: Any, stage: Any) -> Any:
    """Give each stage its name, which is its key."""
    if isinstance(stage, Mapping) and "name" in stage:
        raise ConfigError(f"stages.{key}.name does not exist; a stage's name is the key before it.")
    return {"name": str(key), **stage} if isinstance(stage, Mapping) else stage


def _as_typed(text: str) -> str:
    """A message with the names under which `out` and its like are set."""
    for key in _SHARED:
        text = text.replace(f"setting.{key}", key).replace(f"setting: {key}", key)
    return text


def check_stages(stages: Sequence[Stage], setting: Setting) -> None:
    """Find settings that would end training, before hours are spent on it.

    Raises:
        ConfigError: stages that do not fit one another, the photographs or the validation.
    """
    if not stages:
        raise ConfigError("training was asked for with no stages: name at least one.")
    for stage in stages:
        _check_stage(stage, setting)
    for before, after in pairwise(stages):
        if after.depth < before.depth:
            raise ConfigError(
                f"stage {after.name!r} has {after.depth} blocks after {before.depth} in {before.name!r}: "
                f"a trunk only grows, so give it {before.depth} or more."
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
            f"stage {stage.name!r} is to see {stage.images} pictures, fewer than a batch of "
            f"{stage.batch_size}: raise its images or lower its batch_size."
        )
    if any(scenes.seed == setting.val_seed for scenes in stage.sets):
        raise ConfigError(
            f"stage {stage.name!r} trains on seed {setting.val_seed}, which is the validation's: give one of "
            "them another seed, or the curve shows what was learned by heart."
        )
    if setting.photos and not 0 < round(setting.photos_share * stage.batch_size) < stage.batch_size:
        raise ConfigError(
            f"photos_share={setting.photos_share} was asked for, but of a batch of {stage.batch_size} in "
            f"stage {stage.name!r} at least one picture has to be a photograph and one a render; a share "
            "such as 0.2 does that, or leave photos out."
        )
    if stage.warmup > stage.steps:
        text = "Stage %r warms up for %d steps but has %d: it ends before its learning rate is reached."
        log.warning(text, stage.name, stage.warmup, stage.steps)


def check_folders(folders: Mapping[str, Path]) -> None:
    """Make folders and try to write into them.

    Args:
        folders: by the setting that names them.

    Raises:
        ConfigError: one of them cannot be made or written to.
    """
    for name, folder in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder) as file:
                file.write(b".")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                f"{name}={shown(folder)} cannot be written to ({reason}): name another folder."
            ) from error
