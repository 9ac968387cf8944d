"""Train HaMeR on SynthHand, from nothing to the shipped file; run it again to go on after an interruption.

    python train.py                                 # HaMeR-Thin, all stages of configs/train.yaml
    python train.py out=runs/try setting.devices=2  # any setting of the file can be given here
    python train.py export_only=true                # write the files from the newest checkpoint, do not train
    python train.py --config-name more                # goes on from the shipped file instead of from nothing
    python train.py --config-name published         # HaMeR's own losses and optimiser, from existing weights

Leaves `hamer_thin.safetensors` with its `.yaml`, `.training.json`, `.curve.csv` and `.curve.png` in
`export_to`; the published recipe leaves `last.ckpt` in the official layout and `hamer.safetensors` in `out`.
"""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader

from hamer import HaMeR, HaMeRConfig, load_hamer, save_hamer
from hamer.lightning import HaMeRModule, SquareHands, with_discriminator
from hamer.losses import LossWeights
from shared_tmu.body_models.mano import load_mano, load_mean_params
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.data import SynthHandSet
from shared_tmu.training.record import write_record
from shared_tmu.training.stages import Setting, Stage, load_newest, run_stages

log = logging.getLogger(__name__)


def build(model: DictConfig, depth: int) -> HaMeR:
    """An untrained HaMeR with `depth` blocks."""
    content = OmegaConf.to_container(model, resolve=True)
    content["backbone"]["depth"] = depth
    return HaMeR(HaMeRConfig.from_dict(content), load_mano(), load_mean_params())


def read_stages(config: DictConfig) -> list[Stage]:
    """Stages from the configuration, in order."""
    out = []
    for name, entry in config.stages.items():
        if entry is None:  # switched off on the command line: stages.NAME=null
            continue
        values = OmegaConf.to_container(entry, resolve=True)
        out.append(Stage(name=name, difficulty=Difficulty(**values.pop("difficulty", {})), **values))
    return out


def run_published(config: DictConfig) -> None:
    """Train on with the published losses; goes on from `last.ckpt` in `out` if there is one."""
    out = Path(config.out)
    model = load_hamer(config.checkpoint, config.mano_path)
    weights = LossWeights.from_dict(OmegaConf.to_container(config.losses))
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
    module = HaMeRModule(model.train(), weights, config.lr, config.weight_decay)
    trainer.fit(module, loader, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    save_hamer(model, out / "hamer.safetensors")
    log.info("wrote %s", out / "hamer.safetensors")


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(config: DictConfig) -> None:
    """Train and export."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if config.recipe == "published":
        run_published(config)
        return
    shared = OmegaConf.to_container(config.setting, resolve=True)
    setting = Setting(**{**shared, "out": Path(config.out), "cache": Path(config.cache)})
    stages, dim = read_stages(config), config.model.backbone.embed_dim

    def make(depth: int) -> HaMeR:
        return build(config.model, depth)

    if config.export_only:
        model, stage = load_newest(make, dim, stages, setting)
        log.info("exporting stage %s", stage)
    else:
        start = load_hamer(config.start_from) if config.start_from else None
        model = run_stages(make, dim, stages, setting, start=start)
    if rank_zero_only.rank != 0:
        return  # with several devices, one process writes
    folder = Path(config.export_to)
    save_hamer(model, folder / "hamer_thin.safetensors")
    command = "cd HaMeR_TMU && python train.py"
    if config.start_from:
        command += f" --config-name more start_from={config.start_from}"
    write_record(folder, "hamer_thin", command, stages, setting)
    log.info("wrote %s", folder / "hamer_thin.safetensors")


if __name__ == "__main__":
    main()
