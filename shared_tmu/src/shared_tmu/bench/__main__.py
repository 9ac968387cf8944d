"""`python -m shared_tmu.bench --model NAME ...` times a model, `--scale` a trunk of growing size.

Model folders are not installed and each brings its own `tmu` package, so a model is measured in a process of
its own, `python -m tmu.bench`, that starts in its folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from shared_tmu.bench.program import find_model_folder
from shared_tmu.programs.console import run_program

PATHS = ("--json", "--pictures")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, a model's in its folder, and return the exit status."""
    return run_program(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    front = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    front.add_argument("--model")
    front.add_argument("--scale", action="store_true")
    for option in PATHS:
        front.add_argument(option, type=Path)
    known, rest = front.parse_known_args(arguments)
    if known.scale or known.model is None:
        from shared_tmu.bench import cli  # here, since it loads for a second and models need it elsewhere

        if known.scale and known.model is None:
            return cli.run_scale(arguments)
        cli.make_parser().parse_args(arguments)  # prints the help, or what is wrong
    folder = find_model_folder(known.model, Path.cwd())
    for option in PATHS:
        if (path := getattr(known, option.removeprefix("--"))) is not None:
            rest += [option, str(path.absolute())]  # the other process starts in another folder
    return subprocess.run([sys.executable, "-m", "tmu.bench", *rest], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
