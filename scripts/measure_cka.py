"""Measure how similar the layers of a bundled model are, as FastHMR's Figure 2 does (linear CKA).

    python scripts/measure_cka.py --model hamer

Writes `assets/<model>_cka.json` and draws `assets/<model>_cka.png`. Further flags, such as `--checkpoint`
together with `--out`: `python scripts/measure_cka.py --model hamer --help`; `python scripts/figures.py cka
--results DIR` draws such a file.
"""

import sys
from collections.abc import Sequence

import figures
from bundled import BUNDLED, parse_model

from shared_tmu.evaluation.budget import similarity
from shared_tmu.programs.console import run_program
from shared_tmu.programs.model_program import find_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    name, more = parse_model(__doc__, arguments)
    out = BUNDLED[name].picture("cka").with_suffix(".json")
    status = similarity.main(find_program(name), ["--out", str(out), *more])
    return status or figures.redraw([out])


if __name__ == "__main__":
    sys.exit(run_program(main))
