"""Accuracy and speed of HaMeR on an evaluation set, with and without token merging.

    python eval.py                             # bundled weights on SynthHand-Eval; needs nothing else
    python eval.py --r off,5x20,8x16,10x16,10x8+6x8,12x8+6x8 --method tome,random
    python eval.py --dataset freihand --data_dir DIR --checkpoint hamer.ckpt --mano_path MANO_RIGHT.pkl

One JSON line per schedule goes to `results/hamer-<dataset>.jsonl`; beside it the official prediction file,
the official scores and per-sample errors. Running the same command again continues an interrupted run.
"""

import sys
from collections.abc import Sequence

from hamer_tmu.tmu.program import PROGRAM
from shared_tmu.evaluation import main


def run(arguments: Sequence[str] | None = None) -> int:
    """Evaluate with the options of the command line; returns the exit status."""
    return main(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(run())
