"""How lines of eval.py, of the benchmarks and of demo.py are shown: a table of columns for each kind."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from comparison import Run, interval_of

from shared_tmu.masks import NO_MASK


@dataclass(frozen=True)
class TableKind:
    """How the lines of one kind are shown.

    Args:
        identity: fields that tell runs apart; of several runs that agree in all of them only the last counts.
        setting: those of them that all rows of a table share.
        columns: title, and the text of a run.
        context: fields written below a table.
        optional: titles of columns that are left out where no row has text.
    """

    identity: tuple[str, ...]
    setting: tuple[str, ...]
    columns: tuple[tuple[str, Callable[[Run], str]], ...]
    context: tuple[str, ...]
    optional: tuple[str, ...] = ()


def is_absolute(run: Run) -> bool:
    """Whether absolute times mean something: on a named GPU; those of a CPU are shown as ratios only."""
    return str(run["device"]).startswith("cuda")


def field(name: str, form: str = "{}") -> Callable[[Run], str]:
    """The text of a field; "-" if it is null."""
    return lambda run: "-" if run[name] is None else form.format(run[name])


def given(name: str, form: str) -> Callable[[Run], str]:
    """The text of a field that only some sets have."""
    return lambda run: form.format(run[name]) if name in run else ""


def interval(name: str, form: str, of: str = "interval_95") -> Callable[[Run], str]:
    """The text of a 95 % interval; nothing where a line has none."""

    def show(run: Run) -> str:
        found = interval_of(run, of, name)
        return "" if found is None else f"{form} to {form}".format(*found)

    return show


def percent(name: str, form: str) -> Callable[[Run], str]:
    """The text of a share, in per cent."""
    return lambda run: form.format(100 * run[name])


def merged(name: str, form: str) -> Callable[[Run], str]:
    """The text of a field that says nothing about the unpatched model."""
    return lambda run: "" if run["schedule"] == "off" else field(name, form)(run)


def spread(name: str) -> Callable[[Run], str]:
    """A ratio with its quartiles."""
    return lambda run: "{:.2f}x ({:.2f}-{:.2f})".format(run[name], *run[f"{name}_quartiles"])


def show_method(run: Run) -> str:
    """The method, and how it differs from TMU."""
    if run["schedule"] == "off":
        return ""
    last = ["protect last"] if run["protect"] == "last" else []
    mask = [] if run["mask"] == NO_MASK else [f"mask {run['mask']}"]
    return ", ".join([run["method"], *([] if run["unmerge"] else ["not unmerged"]), *last, *mask])


def show_dtype(run: Run) -> str:
    """The number format, and whether `auto` chose it."""
    return run["dtype"] if run["dtype"] == run["dtype_asked"] else f"{run['dtype_asked']} ({run['dtype']})"


def show_evaluated_speedup(run: Run) -> str:
    """The speed-up of a line of eval.py. `off` is what the others are compared with, so it is 1.

    Its own line holds the unpatched model timed twice, whose ratio is the noise of the timing.
    """
    is_base = run["schedule"] == "off" and run["speedup"] is not None
    return "1" if is_base else field("speedup", "{:.2f}x")(run)


def show_change(run: Run) -> str:
    """How much more the error is than that of `off`, with the 95 % interval of the paired difference."""
    if run["schedule"] == "off":
        return ""
    found = interval_of(run, "minus_off_interval_95", "pa_mpvpe_mm")
    return "-" if found is None else "{:+.2f} to {:+.2f}".format(*found)


def show_speedup(run: Run) -> str:
    """The speed-up, and whether there is none."""
    return spread("speedup")(run) + ("" if run["pays"] else ": does not pay")


def show_ideal(run: Run) -> str:
    """The ratio of FLOPs, and what share of it the speed-up reaches."""
    return "" if run["schedule"] == "off" else f"{run['flop_ideal']:.2f}x ({100 * run['realised']:.0f} %)"


def show_overhead(run: Run) -> str:
    """Time over the slicing floor, less one, with quartiles, in per cent."""
    if run["schedule"] == "off":
        return ""
    return "{:+.1f} % ({:+.1f} to {:+.1f})".format(
        *(100 * value for value in (run["overhead"], *run["overhead_quartiles"]))
    )


def show_vertices(run: Run) -> str:
    """Mean and largest distance of the vertices from float32's."""
    error = run["vertex_error_mm"]
    return "" if not error or not error["max"] else "{mean:.2f} (max {max:.2f})".format(**error)


def show_latency(run: Run) -> str:
    """Median time of a call, on a GPU."""
    return f"{median(run['latency_ms']):.2f}" if is_absolute(run) else ""


def share(part: str) -> Callable[[Run], str]:
    """The share of a part of the whole."""
    return lambda run: f"{100 * run['shares'][part]:.1f} %" if part in run["shares"] else ""


def waiting(what: str) -> Callable[[Run], str]:
    """The share of the wall time in which the model waited for something."""
    return lambda run: f"{100 * run[f'waited_for_{what}_s'] / run['wall_s']:.1f} %"


def show_memory(run: Run) -> str:
    """Resident memory of all processes, the largest in each tenth of the images."""
    return " ".join(map(str, map(sum, zip(run["memory_mb"], run["memory_of_drawing_mb"], strict=True))))


TABLES = {
    "eval": TableKind(
        identity=("model", "dataset", "device", "dtype", "schedule", "method", "unmerge", "protect", "mask"),
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
        identity=("model", "dataset", "device", "dtype", "schedule", "mask"),
        setting=("model", "dataset", "device", "dtype"),
        columns=(
            ("`--r`", field("schedule")),
            ("`--mask`", merged("mask", "{}")),
            ("tokens kept", field("tokens_kept")),
            ("tokens of the mask", field("mask_tokens", "{:.0f}")),
            ("samples without", field("mask_missing")),
            ("PA-MPVPE (mm)", given("pa_mpvpe_mm", "{:.2f}")),
            ("over off, 95 % interval", interval("pa_mpvpe_mm", "{:+.2f}", "minus_off_interval_95")),
            ("error/box", given("error_box", "{:.4f}")),
            ("turned (degrees)", given("orientation_error_deg", "{:.1f}")),
            ("too large (%)", given("scale_bias_pct", "{:+.1f}")),
            ("jump per pixel (mm)", field("stability_mm", "{:.1f}")),
            ("mask (ms)", field("mask_ms", "{:.2f}")),
        ),
        context=("n", "stability_n", "processor", "versions", "commit"),
        optional=(
            "PA-MPVPE (mm)",
            "over off, 95 % interval",
            "error/box",
            "turned (degrees)",
            "too large (%)",
        ),
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
"""By the `kind` of a line; those of eval.py have none."""

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
"""A few lines of eval.py for a page that only needs the outline."""
