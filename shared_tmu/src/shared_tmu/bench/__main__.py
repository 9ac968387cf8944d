"""`python -m shared_tmu.bench --model NAME ...` times a model, `--scale` a trunk of growing size."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from shared_tmu.bench import cli
from shared_tmu.bench.parsers import make_parser
from shared_tmu.classification.timed import is_timed, timed_classifier
from shared_tmu.programs.console import run_program
from shared_tmu.programs.model_program import find_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run_program(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    front = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    front.add_argument("--model")
    front.add_argument("--scale", action="store_true")
    known, rest = front.parse_known_args(arguments)
    if known.scale and known.model is None:
        return cli.run_scale(arguments)
    if known.scale or known.model is None:
        make_parser().parse_args(arguments)  # prints the help, or the error
    if is_timed(known.model):
        return cli.main(timed_classifier(known.model), rest)
    return cli.main(find_program(known.model), rest)


if __name__ == "__main__":
    sys.exit(main())
