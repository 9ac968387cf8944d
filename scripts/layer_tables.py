"""How lines of `measure_layers.py` and `measure_together.py` are shown, and what FastHMR publishes."""

from table_cells import field, interval
from tables import TableKind

LAYER_TABLES = {
    "layers": TableKind(
        identity=("model", "dataset", "device", "dtype", "threshold_mm"),
        setting=("model", "dataset", "device", "dtype"),
        columns=(
            ("bound (mm)", field("threshold_mm", "{:g}")),
            ("layers", lambda run: str(run["depth"] or "all")),
            ("merged", field("windows")),
            ("trials that passed", field("trials_passed")),
            ("calibration: change (mm)", field("calibration_change_mm", "{:+.3f}")),
            ("PA-MPVPE (mm)", field("pa_mpvpe_mm", "{:.2f}")),
            ("over all layers, 95 % interval", interval("pa_mpvpe_mm", "{:+.2f}", "minus_off_interval_95")),
            ("drift (mm)", field("drift_mm", "{:.1f}")),
        ),
        context=("n", "stability_n", "processor", "versions", "commit"),
    ),
    "together": TableKind(
        identity=("model", "dataset", "device", "dtype", "way", "schedule", "mask", "depth"),
        setting=("model", "dataset", "device", "dtype"),
        columns=(
            ("way", field("way")),
            ("`--r`", field("schedule")),
            ("layers", lambda run: str(run["depth"] or "all")),
            ("tokens kept", field("tokens_kept")),
            ("PA-MPVPE (mm)", field("pa_mpvpe_mm", "{:.2f}")),
            ("over the baseline, 95 % interval", interval("pa_mpvpe_mm", "{:+.2f}", "minus_off_interval_95")),
            ("drift (mm)", field("drift_mm", "{:.1f}")),
            ("jump per pixel (mm)", field("stability_mm", "{:.1f}")),
            ("speed-up, mask included", field("speedup", "{:.2f}x")),
            ("front", lambda run: "yes" if run["front"] else ""),
            ("fastest within", lambda run: ", ".join(f"{mm:g} mm" for mm in run["best_within_mm"])),
        ),
        context=("n", "stability_n", "batch_size", "processor", "cpu_threads", "versions", "commit"),
        optional=("front", "fastest within"),
    ),
    "published": TableKind(
        identity=("model", "setting"),
        setting=("paper", "dataset", "device"),
        columns=(
            ("model (theirs)", field("model")),
            ("setting", field("setting")),
            ("frames/s", field("frames_per_s", "{:.1f}")),
            ("speed-up", field("speedup", "{:.2f}x")),
            ("MPJPE (mm)", field("mpjpe_mm", "{:.1f}")),
            ("change (mm)", lambda run: "" if run["change_mm"] is None else f"{run['change_mm']:+.1f}"),
            ("where", field("where")),
        ),
        context=(),
    ),
}
"""Further tables by the `kind` of a line, as in `tables.TABLES`."""
