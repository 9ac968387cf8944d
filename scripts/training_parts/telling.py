"""What `train_on.py --status` says: one line about everything that was reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forecast import rounded

from training_parts.keeping import ModelState, State
from training_parts.planning import counts_for_itself, exponent_of


def status_line(state: State | None, fresh: Mapping[str, int], names: Mapping[str, str], runs: bool) -> str:
    """One line.

    Args:
        state: what was kept; None before the first run.
        fresh: fresh scenes by subject.
        names: names of the models, by the name under which the state keeps them.
        runs: whether training goes on now.
    """
    if state is None:
        return "nothing yet: train_on.py has not been started with this folder"
    models = [_model(names[name], model) for name, model in state.models.items() if name in names]
    seconds = sum(model.seconds for model in state.models.values())
    seconds += sum(drawing.seconds for drawing in state.drawing.values())
    scenes = [f"{fresh.get(subject, 0):,} fresh scenes of {_plural(subject)}" for subject in state.drawing]
    first = "training now" if runs else "stopped"
    return "; ".join([first, *models, *scenes, f"{seconds / 3600:.1f} hours in all"])


def _model(name: str, model: ModelState) -> str:
    errors = [f"{point.error_mm:.2f}" for point in _ends(model.log)]
    told = f"{name} {' -> '.join(errors) or '?'} mm after {rounded(model.pictures)} pictures"
    log = [(point.pictures, point.error_mm) for point in model.log]
    power = "power" if counts_for_itself(log) else "assumed power"
    rounds = f"{len(model.rounds)} round{'' if len(model.rounds) == 1 else 's'}"
    told += f" ({power} {exponent_of(log):.2f}, {rounds}"
    if model.open is not None:
        told += f", {model.open.seen:,} pictures of another"
    return told + ")"


def _ends(log: Sequence[object]) -> list[object]:
    return [log[0], log[-1]] if len(log) > 1 else list(log)


def _plural(subject: str) -> str:
    return {"body": "bodies"}.get(subject, f"{subject}s")
