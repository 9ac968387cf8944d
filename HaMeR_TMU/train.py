"""Train HaMeR on SynthHand, from nothing to the shipped file; run it again to go on after an interruption.

    python train.py                                   # HaMeR-Thin, all stages of configs/train.yaml
    python train.py out=runs/try devices=2            # any setting of the file can be given on the command line
"""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from hamer import HaMeR, HaMeRConfig
from shared_tmu.body_models.mano import load_mano, load_mean_params
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.stages import Setting, Stage, run_stages


def build(model: DictConfig, depth: int) -> HaMeR:
    """An untrained HaMeR with `depth` blocks."""
    content = OmegaConf.to_container(model, resolve=True)
    content["backbone"]["depth"] = depth
    return HaMeR(HaMeRConfig.from_dict(content), load_mano(), load_mean_params())


def read_stages(config: DictConfig) -> list[Stage]:
    """Stages from the configuration, in order."""
    out = []
    for name, entry in config.stages.items():
        values = OmegaConf.to_container(entry, resolve=True)
        out.append(Stage(name=name, difficulty=Difficulty(**values.pop("difficulty", {})), **values))
    return out


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(config: DictConfig) -> None:
    """Train and export."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    shared = OmegaConf.to_container(config.setting, resolve=True)
    setting = Setting(**{**shared, "out": Path(config.out), "cache": Path(config.cache)})
    run_stages(lambda depth: build(config.model, depth), config.model.backbone.embed_dim, read_stages(config), setting)


if __name__ == "__main__":
    main()
