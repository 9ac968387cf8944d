"""Draw error against measured speed-up of all ways together, beside what FastHMR publishes.

python scripts/plot_together.py assets/hamer_together.jsonl --out together.png
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundled import REPOSITORY

from shared_tmu.errors import MissingDependencyError
from shared_tmu.files import replacing
from shared_tmu.programs.console import run_program
from shared_tmu.programs.results import read_records

PUBLISHED = REPOSITORY / "assets" / "fasthmr_published.jsonl"
STYLES = {
    "TMU": ("o", "tab:blue"),
    "TMU + mask": ("s", "tab:orange"),
    "ECLM": ("D", "tab:green"),
    "ECLM + TMU": ("^", "tab:red"),
    "ECLM + TMU + mask": ("*", "tab:purple"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lines", type=Path, help="file of scripts/measure_together.py")
    parser.add_argument("--out", type=Path, default=Path("together.png"), help="png, pdf, svg")
    given = parser.parse_args(arguments)
    draw_together(read_records(given.lines), given.out)
    sys.stdout.write(f"{given.out}\n")
    return 0


def draw_together(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the figure; of lines that were not timed there is nothing to draw.

    Args:
        lines: lines of `together.combine`; the first is the baseline.
        path: written in one step; its suffix chooses the format.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'shared_tmu[viz]'.") from error
    timed = [line for line in lines if line["speedup"] is not None]
    if not timed:
        return
    base = lines[0]["pa_mpvpe_mm"]
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, scale in ((left, 1.0), (right, 100.0 / base)):
        front = sorted((x for x in timed if x["front"]), key=lambda line: line["speedup"])
        axes.plot(
            [x["speedup"] for x in front],
            [scale * x["more_mm"] for x in front],
            "--",
            color="grey",
            lw=1,
            label="front",
        )
        axes.plot(1, 0, "k+", ms=11, label="unpatched")
        for way, (marker, colour) in STYLES.items():
            points = [line for line in timed if line["way"] == way]
            xs, ys = [p["speedup"] for p in points], [scale * p["more_mm"] for p in points]
            axes.plot(xs, ys, marker, color=colour, label=way, ls="", alpha=1.0 if axes is left else 0.35)
            if axes is left:
                _label(axes, points, right="mask" in way)
        axes.set_xlabel("speed-up over the unpatched model, measured in turn")
        axes.grid(alpha=0.3)
        axes.margins(0.08)
    for bound in (0.1, 0.5):
        left.axhline(bound, color="k", lw=0.6, ls=":", label=f"{bound:g} mm more")
    left.set_ylabel("increase of PA-MPVPE, mm")
    title = f"{lines[0]['model']}, {lines[0]['n']} samples of {lines[0]['dataset']}"
    left.set_title(f"{title} (numbers: tokens kept)", fontsize=9)
    left.legend(fontsize=7)
    _draw_theirs(right)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=150)


def _draw_theirs(right: Any) -> None:
    """FastHMR's published figures, with a legend of their own."""
    published = [json.loads(text) for text in PUBLISHED.read_text(encoding="utf-8").splitlines()]
    for model, colour in (("CameraHMR", "k"), ("HMR2.0", "dimgrey")):
        theirs = [p for p in published if p["model"] == model and p["change_pct"] is not None]
        if theirs:
            xs, ys = [p["speedup"] for p in theirs], [p["change_pct"] for p in theirs]
            right.plot(xs, ys, "o", mfc="none", color=colour, label=f"FastHMR-{model}, theirs (EMDB, MPJPE)")
            for p, x, y in zip(theirs, xs, ys, strict=True):
                right.annotate(p["setting"], (x, y), xytext=(5, 3), textcoords="offset points", fontsize=6)
    right.set_ylabel("increase of the error, % of the unpatched model's")
    right.set_title("the same in per cent, beside FastHMR's published figures", fontsize=10)
    handles, labels = right.get_legend_handles_labels()
    theirs = [(h, label) for h, label in zip(handles, labels, strict=True) if "theirs" in label]
    right.legend(*zip(*theirs, strict=True), fontsize=7)  # the others are in the left one


def _label(axes: Any, points: Sequence[dict[str, Any]], *, right: bool) -> None:
    """Tokens kept, beside the marks; on two sides, since runs with and without a mask are often close."""
    for point in points:
        axes.annotate(
            str(point["tokens_kept"]),
            (point["speedup"], point["more_mm"]),
            xytext=(6 if right else -6, 0),
            va="center",
            ha="left" if right else "right",
            textcoords="offset points",
            fontsize=7,
        )


if __name__ == "__main__":
    sys.exit(run_program(main))
