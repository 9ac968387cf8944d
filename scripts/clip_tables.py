"""How lines of `measure_clips.py` are shown: errors of clips, and what decoder and filters change."""

from collections.abc import Callable

from comparison import Run
from table_cells import field, merged
from tables import TableKind

RIVALS = {"one_euro": "one-euro", "one_euro_both": "one-euro-both"}
"""Filters with which the decoder is compared: the second knows as much of the future as the decoder."""


def change(name: str, other: str = "frames") -> Callable[[Run], str]:
    """A difference from the same run frame by frame, or with a filter, with its interval over clips."""

    def show(run: Run) -> str:
        found = run.get(f"{name}_minus_{other}")
        return "" if found is None else "{:+.2f} ({:+.2f} to {:+.2f})".format(*found)

    return show


def show_plans(run: Run) -> str:
    """Whether frames decide themselves what merges."""
    if run["schedule"] == "off":
        return ""
    return "held" if run["hold"] else "free"


COMPARED = {
    f"{title} minus {smooth}": change(error, name)
    for title, error in (("MPJPE", "mpjpe_mm"), ("acceleration", "accel_error_mm"))
    for name, smooth in RIVALS.items()
}
"""Columns that only the decoder's rows fill."""

CLIP_TABLES = {
    "clips": TableKind(
        identity=("model", "dataset", "label"),
        setting=("model", "dataset"),
        columns=(
            ("`--r`", field("schedule")),
            ("`--mask`", merged("mask", "{}")),
            ("`--plans`", show_plans),
            ("`--decoder`", field("decoder")),
            ("`--smooth`", field("smooth")),
            ("MPJPE (mm)", field("mpjpe_mm", "{:.2f}")),
            ("minus frame by frame, 95 % interval", change("mpjpe_mm")),
            ("PA-MPJPE (mm)", field("pa_mpjpe_mm", "{:.2f}")),
            ("error of acceleration (mm/frame²)", field("accel_error_mm", "{:.2f}")),
            ("jitter (mm/frame²)", field("jitter_mm", "{:.2f}")),
            *((f"MPJPE minus {smooth}", change("mpjpe_mm", name)) for name, smooth in RIVALS.items()),
            *(
                (f"acceleration minus {smooth}", change("accel_error_mm", name))
                for name, smooth in RIVALS.items()
            ),
        ),
        context=("clips", "n", "true_jitter_mm", "processor", "commit"),
        optional=tuple(
            f"{what} minus {smooth}" for what in ("MPJPE", "acceleration") for smooth in RIVALS.values()
        ),
    )
}
"""Further tables by the `kind` of a line, as in `tables.TABLES`."""
