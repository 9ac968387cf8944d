"""Measures how similar the tokens of a bundled model are in each block, and how much each block changes them.

    python scripts/measure_tokens.py --model hamer

Writes `assets/<model>_tokens.jsonl`, which the model cards show. It measures on the first 64 samples of our
own rendered set, with `--r 5`: the mean cosine similarity of the keys of merging pairs, of random pairs and
of task tokens; and, without a patch, the norm of what a block adds to its tokens, divided by the norm of the
tokens.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from bundled import BUNDLED

from shared_tmu.evaluation import tokens
from shared_tmu.programs.console import run_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with the options of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    given, more = parser.parse_known_args(arguments)
    model = BUNDLED[given.model]
    program = importlib.import_module(f"{model.package}.tmu.program").PROGRAM
    return tokens.main(program, ["--out", str(model.lines("tokens")), *more])


if __name__ == "__main__":
    sys.exit(run_program(main))
