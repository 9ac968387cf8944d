"""Trains WiLoR on SynthHand, from HaMeR-Thin's backbone to the shipped file; run it again to resume.

    python train.py                                 # WiLoR-Thin, all stages of configs/train.yaml
    python train.py out=runs/try setting.devices=2  # any setting of the file can be given here
    python train.py setting.max_minutes=120         # ends after two hours on any machine, annealed
    python train.py export_only=true                # write the files from the newest checkpoint, do not train
    python train.py backbone_from=null              # from random weights; then make the first stage shallow
    python train.py photos=DIR                      # also learns from photographs; see the README
    python train.py --config-name gpu               # sized for a data-centre GPU; 22 minutes at most
    python train.py --config-name more              # continues from the shipped file
    python train.py --config-name published         # the published losses and optimiser, on any weights
    python train.py --config-name motion            # a temporal decoder for clips, for existing weights

Writes `wilor_thin.safetensors` with its `.yaml`, `.training.json`, `.curve.csv` and `.curve.png` in
`export_to`; the published recipe writes `last.ckpt` in the official layout and `wilor.safetensors` in `out`.
"""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

from shared_tmu.training.command import reported
from shared_tmu.training.program import train
from wilor_tmu.tmu.program import PROGRAM

CONFIGS = str(Path(__file__).resolve().parent / "configs")


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="train")
def main(config: DictConfig) -> None:
    """Train and export."""
    with reported():
        train(PROGRAM, config)


def run() -> None:
    """Train as the command line says."""
    with reported():
        main()


if __name__ == "__main__":
    run()
