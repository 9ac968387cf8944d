"""Keeps a fingerprint of the evaluation sets from integer seeds, with which other machines compare theirs.

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

from shared_tmu.datasets.synthhand import OFFICIAL_COUNT, OTHER_COUNT, OTHER_NAME, cache_folder
from shared_tmu.programs.console import run_program
from shared_tmu.synth import write_eval_set
from shared_tmu.synth.evalset import EVAL_SEED
from shared_tmu.synth.other_hands import HELD_OUT
from shared_tmu.synth.published import PUBLISHED, publish

VERSION = 2
SETS: dict[str, tuple[Callable[..., Path], float, int]] = {
    "synthhand-eval-2": (write_eval_set, 0.0, OFFICIAL_COUNT),
    "synthhand-varied-2": (write_eval_set, 1.0, OFFICIAL_COUNT),
    OTHER_NAME: (partial(write_eval_set, other=HELD_OUT), 0.0, OTHER_COUNT),
}
"""The function that renders each set, the share of photograph-like pictures, and their number."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Render and publish with the options of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=SETS, action="append", help="which set; default: all")
    given = parser.parse_args(arguments)
    for name in given.set or SETS:
        write, variety, count = SETS[name]
        folder = cache_folder() / name.replace("-", "_")
        for marker in folder.glob("synth*_eval.json"):
            marker.unlink()  # the pictures stay, and `publish` sees them
        write(folder, count, EVAL_SEED, variety, VERSION, partial(publish, name))
        sys.stdout.write(f"{name}: in {PUBLISHED}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
