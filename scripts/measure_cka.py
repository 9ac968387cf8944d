"""Measure how similar the layers of a bundled model are, as FastHMR's Figure 2 does (linear CKA).

    python scripts/measure_cka.py --model hamer

Writes `assets/<model>_cka.json` and draws `assets/<model>_cka.png`. Further flags, such as `--checkpoint`
together with `--out` and `--figure`: `python scripts/measure_cka.py --model hamer --help`.
"""

import sys
from collections.abc import Sequence

from bundled import BUNDLED, parse_model

from shared_tmu.evaluation.budget import similarity
from shared_tmu.programs.console import run_program
from shared_tmu.programs.model_program import find_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    name, more = parse_model(__doc__, arguments)
    out = BUNDLED[name].picture("cka")
    places = ["--out", str(out.with_suffix(".json")), "--figure", str(out)]
    return similarity.main(find_program(name), [*places, *more])


if __name__ == "__main__":
    sys.exit(run_program(main))
