"""Plots error against speed from the result lines of eval.py, with the published curve.

    python scripts/plot_tradeoff.py HaMeR_TMU/results/hamer-synthhand.jsonl
    python scripts/plot_tradeoff.py HaMeR_TMU/results/*.jsonl --published HaMeR --out tradeoff.pdf

Bars are 95 % bootstrap intervals of the paired difference from `off`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from shared_tmu import TMUError
from shared_tmu.programs.console import run_program
from shared_tmu.viz.tradeoff import draw_tradeoff, read_published, read_results

PUBLISHED = Path(__file__).resolve().parents[1] / "assets" / "thesis_curves.csv"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, help="JSON-lines files of eval.py")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("tradeoff.png"),
        help="picture; the suffix gives the format: png, pdf, svg",
    )
    parser.add_argument("--published", metavar="MODEL", help=f"add MODEL's curve from {PUBLISHED.name}")
    parser.add_argument(
        "--absolute", action="store_true", help="show PA-MPVPE instead of its increase over 'off'"
    )
    given = parser.parse_args(arguments)
    try:
        curves = read_results(given.results)
        if given.published:
            curves |= read_published(PUBLISHED, given.published)
        draw_tradeoff(curves, given.out, absolute=given.absolute)
    except TMUError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(f"{given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
