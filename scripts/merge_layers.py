"""Merge neighbouring layers of a model while its error stays within a bound (ECLM); the result is an ordinary
model with fewer layers, for eval.py, demo.py and benchmarks by `--checkpoint`.

    python scripts/merge_layers.py --model hamer --threshold 0.1
    python scripts/merge_layers.py --model wilor --threshold 0.5 --metric MPVPE --flush
    python scripts/merge_layers.py --model hamer --checkpoint hamer.ckpt --mano_path MANO_RIGHT.pkl \
        --dataset freihand --data_dir DIR --device cuda

Further flags: `python scripts/merge_layers.py --model hamer --help`.
"""

import argparse
import sys
from collections.abc import Sequence

from shared_tmu.evaluation.budget import merging_layers
from shared_tmu.programs.console import run_program
from shared_tmu.programs.model_program import find_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False
    )
    parser.add_argument("--model", help="an installed model: hamer, wilor, smplest-x")
    parser.add_argument("-h", "--help", action="store_true", help="with --model: all flags")
    given, more = parser.parse_known_args(arguments)
    if given.model is None:
        if given.help:
            parser.print_help()
            return 0
        parser.error("--model is missing: hamer, wilor or smplest-x")
    return merging_layers.main(find_program(given.model), [*more, *(["--help"] if given.help else [])])


if __name__ == "__main__":
    sys.exit(run_program(main))
