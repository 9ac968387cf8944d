"""`python -m shared_tmu.bench --model NAME ...`: find the model's folder and run its `tmu.bench` there.

Model folders are not installed and each brings its own `tmu` package, so the measuring runs in a process of
its own that starts in that folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from shared_tmu.bench.cli import make_parser
from shared_tmu.bench.program import find_model_folder
from shared_tmu.errors import TMUError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line in the model's folder and return its exit status."""
    front = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    front.add_argument("--model")
    front.add_argument("--json", type=Path)
    known, rest = front.parse_known_args(arguments)
    if known.model is None:
        make_parser().parse_args(arguments)  # prints the help, or that --model is missing
    try:
        folder = find_model_folder(known.model, Path.cwd())
    except TMUError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    if known.json is not None:
        rest += ["--json", str(known.json.absolute())]
    command = [sys.executable, "-m", "tmu.bench", *rest]
    try:
        return subprocess.run(command, cwd=folder, check=False).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
