"""What every folder's `train.py` does: stages on renders, or the hands' published recipe, from one config."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from torch import nn
from torch.utils.data import DataLoader

from shared_tmu.body_models import load_mano, load_mean_params, load_smplx
from shared_tmu.checkpoints import read_checkpoint
from shared_tmu.errors import CheckpointError, ConfigError
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.data import SynthHandSet
from shared_tmu.training.grow import fold_normalisation, kept_blocks, resize_blocks
from shared_tmu.training.photos import PhotoSet, keep_hands, with_photos
from shared_tmu.training.published import HandModule, SquareHands, with_discriminator
from shared_tmu.training.published_losses import LossWeights
from shared_tmu.training.record import write_record
from shared_tmu.training.settings import Setting, Stage
from shared_tmu.training.stages import load_newest, run_stages
from shared_tmu.training.tasks import HAND, Task, body_task

_PLACES = (
    "out=", "cache=", "photos=", "export_to=", "export_only=", "setting.draw_processes=", "setting.workers=",
)  # fmt: skip
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainProgram:
    """A model folder, as training sees it.

    Args:
        name: of the folder, for the command in the record, e.g. `"HaMeR_TMU"`.
        thin: what the trained file is called, without suffix, e.g. `"hamer_thin"`.
        full: what the published recipe's file is called, e.g. `"hamer"`; not used for bodies.
        config: the model's configuration class.
        build: makes an untrained model from configuration, body model and mean parameters.
        load: `(checkpoint or None, body model file or None) -> model`.
        save: writes a model to a `.safetensors`, its sizes beside it.
        estimates: `"hand"` or `"body"`.
    """

    name: str
    thin: str
    full: str
    config: Any
    build: Callable[..., nn.Module]
    load: Callable[..., nn.Module]
    save: Callable[..., None]
    estimates: str = "hand"

    @cached_property
    def task(self) -> Task:
        """What is trained."""
        return body_task() if self.estimates == "body" else HAND

    def untrained(self, sizes: DictConfig, depth: int) -> nn.Module:
        """A model with `depth` blocks and the other sizes as given."""
        content: Any = OmegaConf.to_container(sizes, resolve=True)
        content[self.task.part]["depth"] = depth
        bodies = (load_smplx(),) if self.estimates == "body" else (load_mano(), load_mean_params())
        return self.build(self.config.from_dict(content), *bodies)


def train(program: TrainProgram, config: DictConfig) -> None:
    """Train as the configuration says, and export; see the folder's `configs/` for the fields.

    Raises:
        TMUError: a stage that cannot be run, weights that do not fit, pictures that cannot be drawn.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if config.recipe == "published" and program.estimates != "hand":
        raise ConfigError(f"{program.name} has no published recipe: leave recipe at 'stages'.")
    if config.recipe == "published":
        run_published(program, config)
        return
    photos = Path(config.photos) if config.get("photos") else None
    if photos and program.estimates != "hand":
        raise ConfigError(
            f"photos={photos} was given to {program.name}, but only hands learn from them: leave it out."
        )
    shared: Any = OmegaConf.to_container(config.setting, resolve=True)
    places = {"out": Path(config.out), "cache": Path(config.cache), "photos": photos}
    setting = Setting(**{**shared, **places, "photos_share": config.get("photos_share", 0.2)})
    task, stages = with_photos(program.task) if photos else program.task, read_stages(config)
    dim = config.model[task.part].embed_dim

    def make(depth: int) -> nn.Module:
        return program.untrained(config.model, depth)

    if config.export_only:
        model, stage = load_newest(make, dim, stages, setting, task)
        log.info("exporting stage %s", stage)
    else:
        prefix, start = task.vit(make(1)).num_prefix_tokens, _start(program, config, stages)
        model = run_stages(make, dim, stages, setting, num_prefix_tokens=prefix, start=start, task=task)
    if getattr(rank_zero_only, "rank", 0) != 0:
        return  # with several devices, one process writes
    folder = Path(config.export_to)
    program.save(model, folder / f"{program.thin}.safetensors")
    facts = PhotoSet(keep_hands(photos, setting.cache)).facts if photos else None
    parent, backbone = (Path(path) if path else None for path in (config.start_from, config.backbone_from))
    write_record(folder, program.thin, _command(program, config), stages, setting, parent, facts, backbone)
    log.info("wrote %s", folder / f"{program.thin}.safetensors")


def read_stages(config: DictConfig) -> list[Stage]:
    """Stages from the configuration, in order."""
    out = []
    for name, entry in config.stages.items():
        if entry is None:  # switched off on the command line: stages.NAME=null
            continue
        values: Any = OmegaConf.to_container(entry, resolve=True)
        out.append(Stage(name=str(name), difficulty=Difficulty(**values.pop("difficulty", {})), **values))
    return out


def run_published(program: TrainProgram, config: DictConfig) -> None:
    """Train on with the published losses; goes on from `last.ckpt` in `out` if there is one."""
    out = Path(config.out)
    model: Any = program.load(config.checkpoint, config.mano_path)
    losses: Any = OmegaConf.to_container(config.losses)
    weights = LossWeights.from_dict(losses)
    if weights.adversarial > 0:
        model = with_discriminator(model)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    hands = SynthHandSet(Path(config.cache), config.data_seed, config.count, Difficulty(), augment=True)
    loader = DataLoader(
        SquareHands(hands), config.batch_size, shuffle=True, drop_last=True, num_workers=config.workers
    )
    keep = ModelCheckpoint(out, save_last=True, save_top_k=0, every_n_train_steps=config.save_every)
    optimizers = 2 if weights.adversarial > 0 else 1  # Lightning counts the steps of both
    trainer = pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision,
        max_steps=config.steps * optimizers,
        logger=False,
        callbacks=[keep],
        default_root_dir=out,
    )
    last = out / "last.ckpt"
    module = HandModule(model.train(), weights, config.lr, config.weight_decay)
    trainer.fit(module, loader, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    program.save(model, out / f"{program.full}.safetensors")
    log.info("wrote %s", out / f"{program.full}.safetensors")


def _start(program: TrainProgram, config: DictConfig, stages: list[Stage]) -> nn.Module | None:
    """What to go on from: a trained model, a model with another one's backbone, or nothing."""
    backbone = config.get("backbone_from")
    model = program.load(config.start_from) if config.start_from else None
    if not backbone or not stages:
        return model
    model = model or program.untrained(config.model, stages[0].depth)
    vit = program.task.vit(model)
    vit.blocks = resize_blocks(vit.blocks, stages[0].depth)
    take_backbone(vit, Path(backbone))
    if not program.task.is_normalised:
        fold_normalisation(program.task.vit(model).patch_embed.proj)
    return model


def take_backbone(vit: nn.Module, checkpoint: Path) -> None:
    """Give a ViT the patches, positions, blocks and last norm of a hand model's checkpoint.

    What else it has, such as task tokens, stays as it is. What a stage of training left serves too; of a
    deeper trunk, the blocks that it had before it grew are taken.

    Raises:
        MissingAssetError: there is no such file.
        CheckpointError: the checkpoint has no such weights, or of other shapes.
    """
    content = read_checkpoint(checkpoint)
    weights = content.get("state_dict", content)
    own = vit.state_dict()
    wanted = [key for key in own if key.startswith(("patch_embed.", "pos_embed", "blocks.", "last_norm."))]
    prefix = "model.backbone." if any(key.startswith("model.backbone.") for key in weights) else "backbone."
    numbers = _block_numbers(set(own), {key.removeprefix(prefix) for key in weights})
    theirs = {key: weights.get(prefix + _renamed(key, numbers)) for key in wanted}
    bad = [key for key, value in theirs.items() if value is None or value.shape != own[key].shape]
    if bad:
        raise CheckpointError(
            f"the backbone of {checkpoint} does not fit: {len(bad)} of {len(wanted)} weights are missing or "
            f"of another shape, such as {bad[0]}; give the first stage its depth and the model its width."
        )
    found: dict[str, torch.Tensor] = {key: value.to(own[key].dtype) for key, value in theirs.items()}
    vit.load_state_dict(found, strict=False)
    log.info("backbone from %s", checkpoint)


def _block_numbers(own: set[str], theirs: set[str]) -> list[int]:
    """Which blocks of a checkpoint a trunk takes, given the names of both's weights."""
    depth, deep = (
        len({key.split(".")[1] for key in keys if key.startswith("blocks.")}) for keys in (own, theirs)
    )
    return kept_blocks(deep, depth) if deep > depth else list(range(depth))


def _renamed(key: str, numbers: list[int]) -> str:
    """A weight's name with its block's number replaced by another's."""
    if not key.startswith("blocks."):
        return key
    _, number, rest = key.split(".", 2)
    return f"blocks.{numbers[int(number)]}.{rest}"


def _command(program: TrainProgram, config: DictConfig) -> str:
    """What a user types to train the file again; where files lie is left out."""
    words = [f"cd {program.name} && python train.py"]
    if HydraConfig.initialized():
        typed = HydraConfig.get()
        if typed.job.config_name != "train":
            words.append(f"--config-name {typed.job.config_name}")
        words += [change for change in typed.overrides.task if not change.startswith(_PLACES)]
        words += ["photos=DIR"] if config.get("photos") else []
    elif config.start_from:
        words.append(f"--config-name more start_from={config.start_from}")
    elif config.get("backbone_from"):
        words.append(f"backbone_from={config.backbone_from}")
    return " ".join(words)
