"""Keeps a fingerprint of the evaluation sets of version 2, with which other machines compare theirs.

    python scripts/publish_eval_sets.py                          # all; renders what is missing
    python scripts/publish_eval_sets.py --set synthhand-eval-2

Run it once when a set is new, or when equal scenes give other pictures; then every table measured on the set
has to be measured again. The fingerprints are in `shared_tmu/assets/eval_sets.npz`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from shared_tmu.datasets.synthhand import OFFICIAL_COUNT, cache_folder
from shared_tmu.programs.console import run_program
from shared_tmu.synth import write_eval_set
from shared_tmu.synth.evalset import EVAL_SEED
from shared_tmu.synth.published import PUBLISHED, publish

VERSION = 2
SETS: dict[str, tuple[Callable[..., Path], float]] = {
    "synthhand-eval-2": (write_eval_set, 0.0),
    "synthhand-varied-2": (write_eval_set, 1.0),
}
"""The function that renders each set, and the share of pictures with a photograph-like appearance."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Render and publish with the options of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=SETS, action="append", help="which set; default: all")
    given = parser.parse_args(arguments)
    for name in given.set or SETS:
        write, variety = SETS[name]
        folder = cache_folder() / name.replace("-", "_")
        for marker in folder.glob("synth*_eval.json"):
            marker.unlink()  # the pictures stay, and `publish` sees them
        write(folder, OFFICIAL_COUNT, EVAL_SEED, variety, VERSION, partial(publish, name))
        sys.stdout.write(f"{name}: in {PUBLISHED}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
