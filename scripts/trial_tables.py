"""How lines of `try_training.py` are shown."""

from collections.abc import Callable

from comparison import Run, interval_of
from table_cells import field
from tables import TableKind
from training_parts.trial_errors import ERROR
from training_parts.trial_table import UNALIGNED

_NAMES = {ERROR: "PA-MPVPE", UNALIGNED: "MPVPE"}


def _minus(run: Run, name: str) -> str:
    found = interval_of(run, "minus_interval_95", name)
    if found is None:
        return ""
    low, high = found
    return f"{run['minus'][name]:+.2f} ({low:+.2f} to {high:+.2f}) {run['verdict'][name]}"


def _columns_of(name: str) -> tuple[tuple[str, Callable[[Run], str]], ...]:
    return (
        (f"{_NAMES[name]} (mm)", field(name, "{:.2f}")),
        (f"{_NAMES[name]}: difference, 95 % interval", lambda run: _minus(run, name)),
    )


TRIAL_TABLES = {
    "trial": TableKind(
        identity=("model", "pictures", "against", "variant", "weights", "seeds"),
        setting=("model", "pictures", "against"),
        columns=(
            ("variant", field("variant")),
            ("weights", field("weights")),
            ("seeds", lambda run: ", ".join(map(str, run["seeds"]))),
            *_columns_of(ERROR),
            ("of each seed", lambda run: ", ".join(f"{mm:+.2f}" for mm in run.get("minus_of_each_seed", ()))),
            *_columns_of(UNALIGNED),
            ("PA-MPVPE, seen (mm)", field("seen_mm", "{:.2f}")),
        ),
        context=("n", "processor", "versions", "commit"),
    )
}
"""A further table by the `kind` of a line, as in `tables.TABLES`."""
