"""Merges neighbouring layers of a model while its error stays within a bound (ECLM); the result is an
ordinary model with fewer layers, which eval.py, demo.py and benchmarks load with `--checkpoint`.

    python scripts/merge_layers.py --model hamer --threshold 0.1
    python scripts/merge_layers.py --model wilor --threshold 0.5 --metric MPVPE --flush
    python scripts/merge_layers.py --model hamer --checkpoint hamer.ckpt --mano_path MANO_RIGHT.pkl \
        --dataset freihand --data_dir DIR --device cuda

Further flags: `python scripts/merge_layers.py --model hamer --help`.
"""

import sys
from collections.abc import Sequence

from bundled import parse_model

from shared_tmu.evaluation.budget import merging_layers
from shared_tmu.programs.console import run_program
from shared_tmu.programs.model_program import find_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge with the options of the command line; returns the exit status."""
    name, more = parse_model(__doc__, arguments)
    return merging_layers.main(find_program(name), more)


if __name__ == "__main__":
    sys.exit(run_program(main))
