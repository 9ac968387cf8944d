"""Cells of the tables: convert a line of a results file to the text of one column."""

from collections.abc import Callable
from statistics import median

from comparison import Run, interval_of

from shared_tmu.masks import NO_MASK
from shared_tmu.method_parts.protection import WEIGHT
from shared_tmu.method_parts.restores import COPY


def is_absolute(run: Run) -> bool:
    """Whether absolute times are shown: only on a named GPU; times on a CPU are shown as ratios."""
    return str(run["device"]).startswith("cuda")


def field(name: str, form: str = "{}") -> Callable[[Run], str]:
    """The text of a field; "-" if it is null."""
    return lambda run: "-" if run[name] is None else form.format(run[name])


def given(name: str, form: str) -> Callable[[Run], str]:
    """The text of a field that only some sets have."""
    return lambda run: form.format(run[name]) if name in run else ""


def interval(name: str, form: str, of: str = "interval_95") -> Callable[[Run], str]:
    """The text of a 95 % interval; empty if a line has none."""

    def show(run: Run) -> str:
        found = interval_of(run, of, name)
        return "" if found is None else f"{form} to {form}".format(*found)

    return show


def between(name: str, form: str) -> Callable[[Run], str]:
    """The text of an interval that a line has by itself; empty if it is None, as that of one group is."""
    return lambda run: "" if run[name] is None else f"{form} to {form}".format(*run[name])


def percent(name: str, form: str) -> Callable[[Run], str]:
    """The text of a share, in per cent."""
    return lambda run: form.format(100 * run[name])


def merged(name: str, form: str) -> Callable[[Run], str]:
    """The text of a field that has no meaning for the unpatched model."""
    return lambda run: "" if run["schedule"] == "off" else field(name, form)(run)


def spread(name: str) -> Callable[[Run], str]:
    """A ratio with its quartiles."""
    return lambda run: "{:.2f}x ({:.2f}-{:.2f})".format(run[name], *run[f"{name}_quartiles"])


def show_mask(run: Run) -> str:
    """The mask, and its rule where that is not the usual one."""
    if run["schedule"] == "off":
        return ""
    weight = run.get("mask_weight")
    if run["mask"] == NO_MASK or weight == WEIGHT:
        return str(run["mask"])
    rule = "background first" if weight is None else f"weight {weight:g}"
    return f"{run['mask']}, {rule}"


def show_mask_cost(run: Run) -> str:
    """The time of a mask over that of the forward pass, in per cent, with its quartiles."""
    if run.get("mask_share") is None:
        return ""
    share, (low, high) = run["mask_share"], run["mask_share_quartiles"]
    return f"{100 * share:.2g} ({100 * low:.2g} to {100 * high:.2g})"


def show_method(run: Run) -> str:
    """The method, and how the setting differs from TMU."""
    if run["schedule"] == "off" and run.get("layers") is None:
        return ""
    last = ["protect last"] if run["protect"] == "last" else []
    mask = [] if run["mask"] == NO_MASK else [f"mask {run['mask']}"]
    weight = [] if run.get("mask_weight") is None else [f"background {run['mask_weight']:g}"]
    restore = [] if run.get("restore", COPY) == COPY else [f"restore {run['restore']}"]
    layers = [] if run.get("layers") is None else [f"{len(run['layers']['partition'])} layers"]
    parts = [run["method"], *([] if run["unmerge"] else ["not unmerged"]), *last, *mask, *weight, *restore]
    return ", ".join([*parts, *layers, *_learned_of(run)])


def _learned_of(run: Run) -> list[str]:
    digest = run.get("learned_sha256")
    return [] if digest is None else [f"learned {digest[:8]}"]


def show_dtype(run: Run) -> str:
    """The number format, and whether `auto` chose it."""
    return run["dtype"] if run["dtype"] == run["dtype_asked"] else f"{run['dtype_asked']} ({run['dtype']})"


def show_evaluated_speedup(run: Run) -> str:
    """The speed-up of a line of eval.py. `off` is the reference, so its speed-up is 1.

    The line of `off` itself holds the ratio of two timings of the unpatched model, which shows only the noise
    of timing.
    """
    is_base = run["schedule"] == "off" and run["speedup"] is not None
    return "1" if is_base else field("speedup", "{:.2f}x")(run)


def show_change(run: Run) -> str:
    """The difference of the error from that of `off`, with the 95 % interval of the paired difference."""
    if run["schedule"] == "off":
        return ""
    found = interval_of(run, "minus_off_interval_95", "pa_mpvpe_mm")
    return "-" if found is None else "{:+.2f} to {:+.2f}".format(*found)


def show_speedup(run: Run) -> str:
    """The speed-up, with a note if there is none."""
    return spread("speedup")(run) + ("" if run["pays"] else ": no speed-up")


def show_ideal(run: Run) -> str:
    """The ratio of FLOPs, and the share of it that the speed-up reaches."""
    return "" if run["schedule"] == "off" else f"{run['flop_ideal']:.2f}x ({100 * run['realised']:.0f} %)"


def show_overhead(run: Run) -> str:
    """Time relative to the slicing floor minus one, with quartiles, in per cent."""
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
    """The share of a part in the whole."""
    return lambda run: f"{100 * run['shares'][part]:.1f} %" if part in run["shares"] else ""


def waiting(what: str) -> Callable[[Run], str]:
    """The share of the wall time in which the model waited for something."""
    return lambda run: f"{100 * run[f'waited_for_{what}_s'] / run['wall_s']:.1f} %"


def show_memory(run: Run) -> str:
    """Resident memory of all processes, the largest in each tenth of the images."""
    return " ".join(map(str, map(sum, zip(run["memory_mb"], run["memory_of_drawing_mb"], strict=True))))
