"""Accuracy and speed of SMPLest-X on an evaluation set, with and without token merging.

    python eval.py                             # bundled weights on SynthBody-Eval; needs nothing else
    python eval.py --r off,5x20,8x16,10x16,10x8+6x8,12x8+6x8 --method tome,random
    python eval.py --dataset ehf --data_dir DIR --checkpoint smplest_x_h.pth.tar --smplx_path DIR

One JSON line per schedule goes to `results/smplest-x-<dataset>.jsonl`; beside it the predicted parameters,
the scores and per-sample errors. Running the same command again continues an interrupted run.
"""

import sys
from collections.abc import Sequence

from shared_tmu.evaluation import main
from smplest_x_tmu.tmu.program import PROGRAM


def run(arguments: Sequence[str] | None = None) -> int:
    """Evaluate with the options of the command line; returns the exit status."""
    return main(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(run())
