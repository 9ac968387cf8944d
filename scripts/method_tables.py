"""How lines of `compare_methods.py` are shown, and the table of the best method for each budget."""

from collections.abc import Callable, Sequence

from comparison import Run
from method_ways import BASE, PUBLISHED
from table_cells import field, given, interval, merged, show_overhead, spread
from tables import TableKind

from shared_tmu.method_parts.restores import COPY

AXES = {"tokens": "tokens in every layer", "flops": "FLOPs", "time": "measured time"}


def show_best(runs: Sequence[Run]) -> str:
    """For each budget and measure of cost: the way with the least error, and those not worse for sure."""
    budgets = [run["budget"] for run in runs if _is_base(run)]
    lines = [
        f"| as cheap as ToMe at | {' | '.join(AXES.values())} |",
        "|---|" + "---|" * len(AXES),
    ]
    for budget in budgets:
        cells = [_best(runs, axis, budget) for axis in AXES]
        lines.append(f"| {budget} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _is_base(run: Run) -> bool:
    is_usual = (run["method"], run["restore"], run["profile"]) == (BASE, COPY, PUBLISHED)
    return is_usual and run["schedule"] != "off"


def _best(runs: Sequence[Run], axis: str, budget: str) -> str:
    best = [run for run in runs if budget in run["best_at"].get(axis, ())]
    if not best:
        return "not measured yet"
    near = [_name(run) for run in runs if budget in run["near_best_at"].get(axis, ())]
    shown = f"**{_name(best[0])}** {best[0]['pa_mpvpe_mm']:.2f} mm"
    return f"{shown}; no worse for sure: {', '.join(near)}" if near else shown


def _name(run: Run) -> str:
    """The method with what is not usual about it."""
    restore = "" if run["restore"] == COPY else f" with {run['restore']}"
    return f"{run['method']}{restore} `{run['schedule']}`"


def _over_copy(name: str, form: str) -> Callable[[Run], str]:
    """The interval of the paired difference from `copy`, which has none from itself."""
    show = interval(name, form, "minus_base_interval_95")
    return lambda run: "" if run["restore"] == COPY else show(run)


METHOD_TABLES = {
    "restores": TableKind(
        identity=("model", "dataset", "schedule", "restore"),
        setting=("model", "dataset"),
        columns=(
            ("`--r`", field("schedule")),
            ("restore", field("restore")),
            ("PA-MPVPE (mm)", given("pa_mpvpe_mm", "{:.2f}")),
            ("less that of copy, 95 % interval", _over_copy("pa_mpvpe_mm", "{:+.3f}")),
            ("MPVPE (mm)", given("mpvpe_mm", "{:.1f}")),
            ("less copy's", _over_copy("mpvpe_mm", "{:+.2f}")),
            ("wrist MPVPE (mm)", given("wrist_mpvpe_mm", "{:.1f}")),
            ("less that of copy", _over_copy("wrist_mpvpe_mm", "{:+.3f}")),
            ("jump per pixel (mm)", field("stability_mm", "{:.1f}")),
        ),
        context=("n", "stability_n", "processor", "versions"),
        optional=("wrist MPVPE (mm)", "less that of copy"),
    ),
    "methods": TableKind(
        identity=("model", "dataset", "device", "dtype", "budget", "method", "schedule", "restore"),
        setting=("model", "dataset", "device", "dtype", "budget"),
        columns=(
            ("`--method`", merged("method", "{}")),
            ("`--r`", field("schedule")),
            ("restore", merged("restore", "{}")),
            ("tokens kept", field("tokens_kept")),
            ("FLOPs", lambda run: f"{100 * run['flops_share']:.0f} %"),
            ("PA-MPVPE (mm)", given("pa_mpvpe_mm", "{:.2f}")),
            ("over off, 95 % interval", interval("pa_mpvpe_mm", "{:+.2f}", "minus_off_interval_95")),
            ("over ToMe, 95 % interval", interval("pa_mpvpe_mm", "{:+.2f}", "minus_base_interval_95")),
            ("MPVPE (mm)", given("mpvpe_mm", "{:.1f}")),
            ("jump per pixel (mm)", field("stability_mm", "{:.1f}")),
            ("speed-up", lambda run: "" if run["speedup_quartiles"] is None else spread("speedup")(run)),
            ("over the floor", lambda run: "" if run["overhead"] is None else show_overhead(run)),
        ),
        context=("n", "stability_n", "processor", "timed_batch_size", "timed_threads", "versions", "commit"),
        optional=(
            "over ToMe, 95 % interval",
            "over off, 95 % interval",
            "MPVPE (mm)",
            "speed-up",
            "over the floor",
        ),
    ),
}
"""Further tables by the `kind` of a line, as in `tables.TABLES`."""
