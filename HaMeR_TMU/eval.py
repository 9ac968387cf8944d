"""Accuracy and speed of HaMeR on an evaluation set, with and without token merging.

    python eval.py                             # bundled weights on SynthHand-Eval; needs nothing else
    python eval.py --r off,5x20,8x16,10x16,10x8+6x8,12x8+6x8 --method tome,random
    python eval.py --dataset freihand --data_dir DIR --checkpoint hamer.ckpt --mano_path MANO_RIGHT.pkl

One JSON line per schedule goes to `results/hamer-<dataset>.jsonl`; beside it the official prediction file,
the official scores and per-sample errors. The same command goes on where an interrupted one stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import tmu
from hamer import HaMeR, load_hamer
from shared_tmu.evaluation import EvalProgram, main

FOLDER = Path(__file__).resolve().parent


def load_model(checkpoint: Path | None, mano_path: Path | None) -> HaMeR:
    """HaMeR in eval mode: the bundled weights and hand, or the files given."""
    return load_hamer(checkpoint=checkpoint, mano_path=mano_path)


def run(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the command line says; returns the exit status."""
    program = EvalProgram(
        name="HaMeR",
        folder=FOLDER,
        load_model=load_model,
        patch=tmu.patch,
        default_checkpoint=FOLDER / "weights" / "hamer_thin.safetensors",
    )
    return main(program, arguments)


if __name__ == "__main__":
    sys.exit(run())
