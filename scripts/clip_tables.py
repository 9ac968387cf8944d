"""How lines of `measure_clips.py` are shown: errors of clips, and what decoder and filters change."""

from collections.abc import Callable

from comparison import Run
from table_cells import field, merged, show_mask, show_mask_cost
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


def searched(run: Run) -> str:
    """On how many of the frames the detector ran."""
    return f"{run['searched']} of {run['frames']} frames"


def known(name: str, form: str) -> Callable[[Run], str]:
    """A number that only some clips have."""
    return lambda run: form.format(run[name]) if name in run else ""


def ratio(run: Run) -> str:
    """How many times as fast as with the detector in every frame."""
    return "{ratio:.2f} ({ratio_from:.2f} to {ratio_to:.2f})".format(**run)


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
    ),
    "clip_masks": TableKind(
        identity=("model", "dataset", "label"),
        setting=("model", "dataset"),
        columns=(
            ("`--r`", field("schedule")),
            ("`--mask`", show_mask),
            ("tokens kept", field("tokens_kept")),
            ("tokens of the mask", field("mask_tokens", "{:.0f}")),
            ("frames without", field("mask_missing")),
            ("MPJPE (mm)", field("mpjpe_mm", "{:.2f}")),
            ("over off, 95 % interval", change("mpjpe_mm", "off")),
            ("PA-MPJPE (mm)", field("pa_mpjpe_mm", "{:.2f}")),
            ("its change over off", change("pa_mpjpe_mm", "off")),
            ("error of acceleration (mm/frame²)", field("accel_error_mm", "{:.2f}")),
            ("jitter (mm/frame²)", field("jitter_mm", "{:.2f}")),
            ("mask (% of the forward pass)", show_mask_cost),
        ),
        context=("clips", "n", "true_jitter_mm", "processor", "commit"),
    ),
    "following": TableKind(
        identity=("model", "clip", "schedule", "every"),
        setting=("model",),
        columns=(
            ("clip", field("clip")),
            ("`--r`", field("schedule")),
            ("`--detect_every`", field("every")),
            ("detector ran on", searched),
            ("jitter of joints (m/s²)", field("joints_m_s2", "{:.1f}")),
            ("of the camera (m/s²)", field("camera_m_s2", "{:.0f}")),
            ("overlap with the true box, mean", known("iou", "{:.3f}")),
            ("lowest", known("iou_lowest", "{:.2f}")),
            ("MPJPE (mm)", known("mpjpe_mm", "{:.2f}")),
        ),
        context=("processor", "commit"),
    ),
    "video_times": TableKind(
        identity=("model", "schedule", "every"),
        setting=("model",),
        columns=(
            ("`--r`", field("schedule")),
            ("`--detect_every`", field("every")),
            ("frames/s, all in all", field("frames_per_s", "{:.2f}")),
            ("times as fast (range of rounds)", ratio),
            ("detector ran on", searched),
            ("finding hands (s)", field("detect_s", "{:.1f}")),
            ("model (s)", field("model_s", "{:.1f}")),
        ),
        context=("frames", "hands", "rounds", "processor", "cpu_threads", "commit"),
    ),
}
"""Further tables by the `kind` of a line, as in `tables.TABLES`."""
