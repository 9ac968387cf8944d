"""Accuracy and speed of SMPLest-X on an evaluation set, with and without token merging.

    python eval.py                             # bundled weights on SynthBody-Eval; needs nothing else
    python eval.py --r off,5x20,8x16,10x16,10x8+6x8,12x8+6x8 --method tome,random
    python eval.py --dataset ehf --data_dir DIR --checkpoint smplest_x_h.pth.tar --smplx_path DIR

One JSON line per schedule goes to `results/smplest-x-<dataset>.jsonl`; beside it the predicted parameters,
the scores and per-sample errors. The same command goes on where an interrupted one stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import tmu
from shared_tmu.evaluation import BODY, EvalProgram, main
from smplest_x.loading import BUNDLED, load_smplest_x


def run(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the command line says; returns the exit status."""
    program = EvalProgram(
        name="SMPLest-X",
        folder=Path(__file__).resolve().parent,
        load_model=load_smplest_x,
        patch=tmu.patch,
        default_checkpoint=BUNDLED,
        subject=BODY,
    )
    return main(program, arguments)


if __name__ == "__main__":
    sys.exit(run())
