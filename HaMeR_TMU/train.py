"""Train HaMeR on SynthHand, from nothing to the shipped file; run it again to go on after an interruption.

    python train.py                                   # HaMeR-Thin, all stages of configs/train.yaml
    python train.py out=runs/try setting.devices=2    # any setting of the file can be given on the command line
    python train.py export_only=true                  # write the files from the newest checkpoint, without training

Leaves `hamer_thin.safetensors` with its `.yaml`, `.training.json`, `.curve.csv` and `.curve.png` in `export_to`.
"""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from hamer import HaMeR, HaMeRConfig, save_hamer
from shared_tmu.body_models.mano import load_mano, load_mean_params
from shared_tmu.synth.scene import Difficulty
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
        values = OmegaConf.to_container(entry, resolve=True)
        out.append(Stage(name=name, difficulty=Difficulty(**values.pop("difficulty", {})), **values))
    return out


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(config: DictConfig) -> None:
    """Train and export."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    shared = OmegaConf.to_container(config.setting, resolve=True)
    setting = Setting(**{**shared, "out": Path(config.out), "cache": Path(config.cache)})
    stages, dim = read_stages(config), config.model.backbone.embed_dim

    def make(depth: int) -> HaMeR:
        return build(config.model, depth)

    if config.export_only:
        model, stage = load_newest(make, dim, stages, setting)
        log.info("exporting stage %s", stage)
    else:
        model = run_stages(make, dim, stages, setting)
    folder = Path(config.export_to)
    save_hamer(model, folder / "hamer_thin.safetensors")
    write_record(folder, "hamer_thin", "cd HaMeR_TMU && python train.py", stages, setting)
    log.info("wrote %s", folder / "hamer_thin.safetensors")


if __name__ == "__main__":
    main()
