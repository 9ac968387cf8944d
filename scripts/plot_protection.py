"""Plot what it is worth to protect the right tokens: error against r, first and last tokens protected.

    cd WiLoR_TMU && python eval.py --r off,1,2,3,4,5,6 --protect first,last --rounds 0
    python scripts/plot_protection.py WiLoR_TMU/results/wilor-synthhand.jsonl --published WiLoR
    python scripts/plot_protection.py assets/smplest_x_synthbody*.jsonl \\
        --metric pa_mpvpe_mm,pa_mpvpe_hand_mm,pa_mpvpe_face_mm

Published TMU keeps as many tokens at the end out of merging as there are task tokens in front, and so merges
the task tokens; `--protect last` reproduces that. Every curve starts at its own unpatched model.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from comparison import ERRORS

from shared_tmu import TMUError
from shared_tmu.errors import InputError
from shared_tmu.viz.protection import draw_protection, read_protection, read_published_protection

PUBLISHED = Path(__file__).resolve().parents[1] / "assets" / "thesis_curves.csv"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, help="JSON-lines files of eval.py")
    parser.add_argument(
        "--out", type=Path, default=Path("protection.png"), help="picture, by suffix: png, pdf, svg"
    )
    parser.add_argument(
        "--metric", default="pa_mpvpe_mm", help="comma list of errors of the lines, a panel for each"
    )
    parser.add_argument(
        "--published", metavar="MODEL", help=f"add MODEL's curve from {PUBLISHED.name} to the first panel"
    )
    given = parser.parse_args(arguments)
    try:
        metrics = [part.strip() for part in given.metric.split(",") if part.strip()]
        if not metrics:
            raise InputError("--metric is empty: name at least one error, such as pa_mpvpe_mm.")
        panels = {metric: read_protection(given.results, metric) for metric in metrics}
        if given.published:
            panels[metrics[0]] |= read_published_protection(PUBLISHED, given.published)
        draw_protection({ERRORS.get(metric, metric): curves for metric, curves in panels.items()}, given.out)
    except TMUError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(f"{given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
