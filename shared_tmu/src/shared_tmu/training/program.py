"""What every hand folder's `train.py` does: stages on SynthHand, or the published recipe, from one config."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader

from shared_tmu.body_models.mano import load_mano, load_mean_params
from shared_tmu.checkpoints import read_checkpoint
from shared_tmu.errors import CheckpointError
from shared_tmu.models.config import HandConfig
from shared_tmu.models.hand import HandModel
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.data import SynthHandSet
from shared_tmu.training.published import HandModule, SquareHands, with_discriminator
from shared_tmu.training.published_losses import LossWeights
from shared_tmu.training.record import write_record
from shared_tmu.training.stages import Setting, Stage, load_newest, run_stages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainProgram:
    """A hand folder, as training sees it.

    Args:
        name: of the folder, for the command in the record, e.g. `"HaMeR_TMU"`.
        thin: what the trained file is called, without suffix, e.g. `"hamer_thin"`.
        full: what the published recipe's file is called, e.g. `"hamer"`.
        config: the model's configuration class.
        build: makes an untrained model from configuration, body model and mean parameters.
        load: `(checkpoint or None, MANO file or None) -> model`.
        save: writes a model to a `.safetensors`, its sizes beside it.
    """

    name: str
    thin: str
    full: str
    config: type[HandConfig]
    build: Callable[..., HandModel]
    load: Callable[..., HandModel]
    save: Callable[..., None]

    def untrained(self, sizes: DictConfig, depth: int) -> HandModel:
        """A model with `depth` blocks and the other sizes as given."""
        content: Any = OmegaConf.to_container(sizes, resolve=True)
        content["backbone"]["depth"] = depth
        return self.build(self.config.from_dict(content), load_mano(), load_mean_params())


def train(program: TrainProgram, config: DictConfig) -> None:
    """Train as the configuration says, and export; see the folder's `configs/` for the fields.

    Raises:
        TMUError: a stage that cannot be run, weights that do not fit, pictures that cannot be drawn.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if config.recipe == "published":
        run_published(program, config)
        return
    shared: Any = OmegaConf.to_container(config.setting, resolve=True)
    setting = Setting(**{**shared, "out": Path(config.out), "cache": Path(config.cache)})
    stages, dim = read_stages(config), config.model.backbone.embed_dim

    def make(depth: int) -> HandModel:
        return program.untrained(config.model, depth)

    if config.export_only:
        model, stage = load_newest(make, dim, stages, setting)
        log.info("exporting stage %s", stage)
    else:
        start, prefix = _start(program, config, stages), make(1).backbone.num_prefix_tokens
        model = run_stages(make, dim, stages, setting, num_prefix_tokens=prefix, start=start)
    if getattr(rank_zero_only, "rank", 0) != 0:
        return  # with several devices, one process writes
    folder = Path(config.export_to)
    program.save(model, folder / f"{program.thin}.safetensors")
    write_record(folder, program.thin, _command(program, config), stages, setting)
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
    model = program.load(config.checkpoint, config.mano_path)
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


def _start(program: TrainProgram, config: DictConfig, stages: list[Stage]) -> HandModel | None:
    """What to go on from: a trained model, another model's backbone, or nothing."""
    if config.start_from:
        return program.load(config.start_from)
    backbone = config.get("backbone_from")
    if not backbone or not stages:
        return None
    model = program.untrained(config.model, stages[0].depth)
    take_backbone(model, Path(backbone))
    return model


def take_backbone(model: HandModel, checkpoint: Path) -> None:
    """Give a model the patches, positions, blocks and last norm of another hand model's checkpoint.

    What else its backbone has, such as task tokens, stays as it is.

    Raises:
        MissingAssetError: there is no such file.
        CheckpointError: the checkpoint has no such weights, or of other shapes.
    """
    content = read_checkpoint(checkpoint)
    weights = content.get("state_dict", content)
    own = model.state_dict()
    common = ("patch_embed.", "pos_embed", "blocks.", "last_norm.")
    wanted = [key for key in own if key.startswith(tuple(f"backbone.{part}" for part in common))]
    bad = [key for key in wanted if key not in weights or weights[key].shape != own[key].shape]
    if bad:
        raise CheckpointError(
            f"the backbone of {checkpoint} does not fit: {len(bad)} of {len(wanted)} weights are missing or "
            f"of another shape, such as {bad[0]}; give the first stage its depth and the model its width."
        )
    model.load_state_dict({key: weights[key].to(own[key].dtype) for key in wanted}, strict=False)
    log.info("backbone from %s", checkpoint)


def _command(program: TrainProgram, config: DictConfig) -> str:
    """What a user types to train the file again."""
    command = f"cd {program.name} && python train.py"
    if config.start_from:
        command += f" --config-name more start_from={config.start_from}"
    elif config.get("backbone_from"):
        command += f" backbone_from={config.backbone_from}"
    return command
