"""How lines of eval.py, of the benchmarks and of demo.py are shown: the columns for each kind of line."""

from collections.abc import Callable
from dataclasses import dataclass

from comparison import Run
from table_cells import (
    between,
    field,
    given,
    interval,
    is_absolute,
    merged,
    percent,
    share,
    show_change,
    show_dtype,
    show_evaluated_speedup,
    show_ideal,
    show_latency,
    show_mask,
    show_mask_cost,
    show_memory,
    show_method,
    show_overhead,
    show_speedup,
    show_vertices,
    spread,
    waiting,
)


@dataclass(frozen=True)
class TableKind:
    """How the lines of one kind are shown.

    Args:
        identity: fields that distinguish runs; of several runs that agree in all of them only the last is
            used.
        setting: those of these fields that all rows of a table share.
        columns: title of each column, and the function that gives its text for a run.
        context: fields that are written below a table.
        optional: titles of columns that are left out if no row has text.
    """

    identity: tuple[str, ...]
    setting: tuple[str, ...]
    columns: tuple[tuple[str, Callable[[Run], str]], ...]
    context: tuple[str, ...]
    optional: tuple[str, ...] = ()


TABLES = {
    "eval": TableKind(
        identity=(
            *("model", "dataset", "device", "dtype", "schedule", "method", "unmerge", "protect", "mask"),
            *("mask_weight", "restore", "layers", "learned_sha256"),
        ),
        setting=("model", "dataset", "device", "dtype"),
        columns=(
            ("`--r`", field("schedule")),
            ("method", show_method),
            ("tokens kept", field("tokens_kept")),
            ("PA-MPVPE (mm)", given("pa_mpvpe_mm", "{:.2f}")),
            ("its 95 % interval", interval("pa_mpvpe_mm", "{:.2f}")),
            ("PA-MPJPE (mm)", given("pa_mpjpe_mm", "{:.2f}")),
            ("hands: PA-MPVPE (mm)", given("pa_mpvpe_hand_mm", "{:.2f}")),
            ("head: PA-MPVPE (mm)", given("pa_mpvpe_face_mm", "{:.2f}")),
            ("error/box", given("error_box", "{:.4f}")),
            ("mean hand", given("mean_hand_error_box", "{:.4f}")),
            ("less that of the mean hand", interval("error_box", "{:+.4f}", "minus_mean_hand_interval_95")),
            ("PCK@0.2", given("pck_20", "{:.3f}")),
            ("95 % interval", interval("pck_20", "{:.3f}")),
            ("mean hand: PCK@0.2", given("mean_hand_pck_20", "{:.3f}")),
            ("images/s", lambda run: field("images_per_s", "{:.1f}")(run) if is_absolute(run) else ""),
            ("speed-up", show_evaluated_speedup),
        ),
        context=("n", "pictures_with_hands", "batch_size", "processor", "versions", "commit"),
        optional=(
            *("PA-MPVPE (mm)", "its 95 % interval", "PA-MPJPE (mm)", "hands: PA-MPVPE (mm)"),
            *("head: PA-MPVPE (mm)", "error/box", "mean hand", "less that of the mean hand", "PCK@0.2"),
            *("95 % interval", "mean hand: PCK@0.2", "images/s"),
        ),
    ),
    "masks": TableKind(
        identity=("model", "dataset", "device", "dtype", "schedule", "mask", "mask_weight"),
        setting=("model", "dataset", "device", "dtype"),
        columns=(
            ("`--r`", field("schedule")),
            ("`--mask`", show_mask),
            ("tokens kept", field("tokens_kept")),
            ("tokens of the mask", field("mask_tokens", "{:.0f}")),
            ("samples without", field("mask_missing")),
            ("PA-MPVPE (mm)", given("pa_mpvpe_mm", "{:.2f}")),
            ("over off, 95 % interval", interval("pa_mpvpe_mm", "{:+.2f}", "minus_off_interval_95")),
            ("MPVPE (mm)", given("mpvpe_mm", "{:.1f}")),
            ("error/box", given("error_box", "{:.4f}")),
            ("PCK@0.2", given("pck_20", "{:.3f}")),
            ("turned (degrees)", given("orientation_error_deg", "{:.1f}")),
            ("too large (%)", given("scale_bias_pct", "{:+.1f}")),
            ("jump per pixel (mm)", field("stability_mm", "{:.1f}")),
            ("mask (% of the forward pass)", show_mask_cost),
        ),
        context=("n", "stability_n", "processor", "versions", "commit"),
        optional=(
            "PA-MPVPE (mm)",
            "over off, 95 % interval",
            "MPVPE (mm)",
            "error/box",
            "PCK@0.2",
            "turned (degrees)",
            "too large (%)",
        ),
    ),
    "stability": TableKind(
        identity=("model", "dataset", "device", "dtype", "schedule", "method", "mask"),
        setting=("model", "dataset", "device", "dtype"),
        columns=(
            ("`--r`", field("schedule")),
            ("`--method`", merged("method", "{}")),
            ("`--mask`", merged("mask", "{}")),
            ("tokens kept", field("tokens_kept")),
            ("PA-MPVPE (mm)", given("pa_mpvpe_mm", "{:.2f}")),
            ("over off, 95 % interval", interval("pa_mpvpe_mm", "{:+.2f}", "minus_off_interval_95")),
            ("jump per pixel (mm)", field("stability_mm", "{:.1f}")),
            ("its 95 % interval", between("stability_interval_95", "{:.1f}")),
            ("with held plans (mm)", given("held_mm", "{:.1f}")),
            ("jump per grey level (mm)", field("noise_mm", "{:.2f}")),
        ),
        context=("n", "stability_n", "processor", "versions", "commit"),
        optional=("PA-MPVPE (mm)", "over off, 95 % interval"),
    ),
    "learned": TableKind(
        identity=("model", "dataset", "device", "dtype", "method"),
        setting=("model", "dataset", "device", "dtype"),
        columns=(
            ("`--method`", field("method")),
            ("`--r`", field("schedule")),
            ("file (kB)", lambda run: f"{run['learned_bytes'] / 1000:.0f}"),
            ("shipped", lambda run: "yes" if run["is_shipped"] else "no"),
            ("tokens per block", field("learned_tokens", "{:.1f}")),
            ("FLOPs (%)", percent("learned_flops_share", "{:.1f}")),
            ("PA-MPVPE (mm)", field("learned_mm", "{:.2f}")),
            ("untrained: `--r`", field("untrained_schedule")),
            ("untrained: tokens", field("untrained_tokens", "{:.1f}")),
            ("untrained: FLOPs (%)", percent("untrained_flops_share", "{:.1f}")),
            ("untrained: PA-MPVPE (mm)", field("untrained_mm", "{:.2f}")),
            (
                "over untrained, 95 % interval",
                interval("pa_mpvpe_mm", "{:+.2f}", "minus_untrained_interval_95"),
            ),
            ("learned is", field("verdict")),
            ("ToMe: `--r`", field("tome_schedule")),
            ("ToMe: FLOPs (%)", percent("tome_flops_share", "{:.1f}")),
            ("ToMe: PA-MPVPE (mm)", field("tome_mm", "{:.2f}")),
            ("over ToMe, 95 % interval", interval("pa_mpvpe_mm", "{:+.2f}", "minus_tome_interval_95")),
        ),
        context=("n", "processor", "versions", "commit"),
    ),
    "tokens": TableKind(
        identity=("model", "dataset", "schedule", "blocks"),
        setting=("model", "dataset", "schedule"),
        columns=(
            ("blocks", field("blocks")),
            ("pairs that merge", field("merged_cosine", "{:.3f}")),
            ("random pairs", field("random_cosine", "{:.3f}")),
            ("task tokens", field("task_cosine", "{:.3f}")),
            ("change by a block", percent("block_change", "{:.1f} %")),
            ("blocks that count", field("effective_blocks", "{:.1f}")),
        ),
        context=("n", "versions", "commit"),
    ),
    "speed": TableKind(
        identity=(
            *("model", "size", "scope", "device", "method", "unmerge"),
            *("batch_size", "dtype_asked", "dtype", "runtime", "schedule"),
        ),
        setting=("model", "size", "scope", "device"),
        columns=(
            ("batch", field("batch_size")),
            ("`--dtype`", show_dtype),
            ("`--runtime`", field("runtime")),
            ("`--r`", field("schedule")),
            ("tokens kept", field("tokens_kept")),
            ("ms", show_latency),
            ("speed-up", show_speedup),
            ("floor", merged("floor_speedup", "{:.2f}x")),
            ("ideal (reached)", show_ideal),
            ("overhead", show_overhead),
            ("over float32 off", spread("speedup_over_reference")),
            ("vertices (mm)", show_vertices),
            ("memory (MiB)", field("peak_memory_mib", "{:.0f}")),
        ),
        context=("processor", "cpu_threads", "rounds", "versions", "commit"),
        optional=("ms", "vertices (mm)"),
    ),
    "kernel": TableKind(
        identity=("kernel", "dtype", "device", "case"),
        setting=("device",),
        columns=(
            ("kernel", field("kernel")),
            ("dtype", field("dtype")),
            ("case", field("case")),
            ("µs", field("kernel_us", "{:.1f}")),
            ("reference: µs", field("reference_us", "{:.1f}")),
            ("speed-up", spread("speedup")),
        ),
        context=("processor", "versions", "commit"),
    ),
    "profile": TableKind(
        identity=("model", "size", "device", "dtype_asked", "batch_size", "schedule"),
        setting=("model", "size", "device"),
        columns=(
            ("batch", field("batch_size")),
            ("`--dtype`", show_dtype),
            ("`--r`", field("schedule")),
            ("ms", lambda run: f"{run['whole_ms']:.1f}" if is_absolute(run) else ""),
            *(
                (part, share(part))
                for part in ("detection", "crop", "attention", "MLP", "matching", "merging")
            ),
            *((part, share(part)) for part in ("unmerging", "rest of the ViT", "head", "body model")),
            ("rendering", share("rendering")),
            ("unaccounted", percent("unaccounted", "{:.1f} %")),
        ),
        context=("processor", "cpu_threads", "rounds", "versions", "commit"),
        optional=("ms", "detection", "crop", "head", "body model", "rendering"),
    ),
    "demo": TableKind(
        identity=("model", "device", "dtype", "schedule", "overlays", "images"),
        setting=("model", "device"),
        columns=(
            ("images", field("images")),
            ("hands", field("hands")),
            ("`--dtype`", field("dtype")),
            ("`--r`", field("schedule")),
            ("batch", field("batch_size")),
            ("overlays", lambda run: "drawn" if run["overlays"] else "off"),
            ("model busy", percent("model_busy", "{:.1f} %")),
            ("waiting for hands", waiting("crops")),
            ("waiting for files", waiting("files")),
            ("memory (MB), by tenths of the images", show_memory),
        ),
        context=("processor", "cpu_threads", "versions", "commit"),
    ),
    "scale": TableKind(
        identity=("device", "dtype", "axis", "value"),
        setting=("device", "dtype"),
        columns=(
            ("growing", field("axis")),
            ("to", field("value")),
            ("unpatched: time", field("off_ms_growth", "{:.1f}x")),
            ("merged: time", field("merged_ms_growth", "{:.1f}x")),
            ("one matching: time", field("matching_ms_growth", "{:.1f}x")),
            ("speed-up", spread("speedup")),
            ("overhead", percent("overhead", "{:+.1f} %")),
            ("unpatched: MiB", field("off_peak_mib", "{:.1f}")),
            ("merged: MiB", field("merged_peak_mib", "{:.1f}")),
            ("one matching: MiB", field("matching_peak_mib", "{:.1f}")),
            ("scores of one image: MiB", field("score_matrix_mib", "{:.1f}")),
        ),
        context=("processor", "cpu_threads", "versions", "commit"),
    ),
}
"""Tables by the `kind` of a line; lines of eval.py have no kind."""

BRIEF = TableKind(
    identity=TABLES["eval"].identity,
    setting=TABLES["eval"].setting,
    columns=(
        ("`--r`", field("schedule")),
        ("tokens left", field("tokens_kept")),
        ("PA-MPVPE (mm)", given("pa_mpvpe_mm", "{:.2f}")),
        ("change, 95 % interval (mm)", show_change),
        ("speed-up", show_evaluated_speedup),
    ),
    context=("n", "processor"),
)
"""A short table of a few lines of eval.py."""
