"""Replaces bundled weights by better ones: measured in pairs first, then written beside and renamed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bundled import Bundled
from forecast import keep_line

from shared_tmu.errors import InputError
from shared_tmu.evaluation.comparing import Difference, compare_runs
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.results import read_records
from training_parts.keeping import STATE, read_state, write_state
from training_parts.records import write_merged
from training_parts.rounds import Place
from training_parts.running import places

LEAST = 0.03
"""The share by which the error must have fallen."""
ERROR, PHOTO_ERRORS = "pa_mpvpe_mm", ("error_box", "pck_20")


def ship(name: str, folder: Path, photos: Path | None) -> int:
    """Replace a bundled model's weights by the newest of `train_on.py`, if they are better; writes what was
    found and what has to be done next.

    Args:
        name: of the model.
        folder: of the state.
        photos: folder of photographs, for models that are measured on them.

    Raises:
        InputError: there are no new weights, they are not better, or photographs are missing.
    """
    state, place = read_state(folder), places(folder)[name]
    model = state.models.get(name) if state else None
    if state is None or model is None or not model.rounds:
        raise InputError(f"{folder} has no finished round of {name}: let train_on.py run first.")
    if place.bundled.photos and photos is None:
        raise InputError(f"{name} is also compared on photographs: name a folder of them with --photos.")
    newest = place.newest(model)
    if not newest.is_file():
        raise InputError(
            f"{newest} is missing, which a finished round has left: put it back, or move {folder / STATE} "
            "away; training then goes on from the shipped weights."
        )
    measured = Measured(place, folder / "ship" / file_sha256(newest)[:12], newest)
    if file_sha256(place.bundled.checkpoint) != file_sha256(newest):  # else it was killed after this
        found = measured.compare(place.bundled.dataset, (ERROR,))
        seen = measured.compare("photos", PHOTO_ERRORS, photos) if place.bundled.photos and photos else ()
        for difference in (*found, *seen):
            sys.stdout.write(f"{told(difference)}\n")
        if (reason := refusal(found[0], seen)) is not None:
            raise InputError(f"{name} is not shipped: {reason} The bundled weights are as they were.")
        exports = [place.export(number) for number in model.rounds]
        install(place.bundled, exports, model.pictures - (model.seen - model.since))
    keep_line(place.bundled, measured.line(place.bundled.dataset), model.pictures)
    shipped = file_sha256(place.bundled.checkpoint)
    rest = replace(model, shipped=shipped, rounds=[], since=model.seen)
    write_state(folder, state.with_model(name, rest))
    shown = f" --photos {photos}" if photos and place.bundled.photos else ""
    sys.stdout.write(
        f"\n{place.bundled.checkpoint} is replaced. Now make and measure again what depends on it:\n\n"
        f"    python scripts/remeasure.py --model {name}{shown}\n"
    )
    return 0


def refusal(on_set: Difference, on_photos: Sequence[Difference]) -> str | None:
    """Why weights are not shipped; None if they are.

    Args:
        on_set: the error on the evaluation set, of the bundled weights (a) and the new ones (b).
        on_photos: errors and scores on photographs; none for models that are not measured on them.
    """
    better = -on_set.minus / on_set.a
    if better < LEAST:
        asked = f"at least {100 * LEAST:.0f} % is asked for"
        return f"its {on_set.name} is {100 * better:.1f} % better, and {asked}."
    if on_set.verdict != "better":
        return f"the difference in {on_set.name} is {on_set.verdict}."
    bad = next((one for one in on_photos if one.verdict in ("worse", "unknown")), None)
    return f"on photographs its {bad.name} is {bad.verdict} ({told(bad)})." if bad else None


def told(one: Difference) -> str:
    """A difference in one line."""
    interval = "unknown" if one.low is None else f"{one.low:+.4f} to {one.high:+.4f}"
    return (
        f"{one.name}: {one.a:.4f} -> {one.b:.4f}, paired 95 % interval {interval}, n {one.n}: {one.verdict}"
    )


def evaluate(words: Sequence[str], folder: Path) -> int:
    """Run a folder's eval.py; returns its exit status."""
    return subprocess.run([sys.executable, "eval.py", *words], cwd=folder, check=False).returncode


class Measured:
    """Results of the bundled and the new weights, kept so that an interrupted measurement goes on.

    Args:
        place: the model.
        folder: of the results.
        newest: the new weights.
    """

    def __init__(self, place: Place, folder: Path, newest: Path) -> None:
        self.place, self.folder, self.newest = place, folder, newest

    def compare(self, dataset: str, names: Sequence[str], data: Path | None = None) -> tuple[Difference, ...]:
        """Differences of errors on a set, bundled weights first.

        Raises:
            InputError: eval.py has failed.
        """
        for which in ("shipped", "newest"):
            words = ["--r", "off", "--rounds", "0", "--device", "cpu", "--dataset", dataset]
            words += ["--results", str(self.folder / which)]
            words += ["--data_dir", str(data.resolve())] if data else []
            words += ["--checkpoint", str(self.newest)] if which == "newest" else []
            if status := evaluate(words, self.place.bundled.folder):
                raise InputError(f"eval.py ended with status {status} on {dataset}; see its message above.")
        a, b = (read_per_sample(self._path(which, dataset)) for which in ("shipped", "newest"))
        return compare_runs(a, b, names)

    def line(self, dataset: str) -> dict[str, object]:
        """The result line of the new weights."""
        return read_records(self._lines("newest", dataset))[-1]

    def _lines(self, which: str, dataset: str) -> Path:
        return self.folder / which / self.place.bundled.results(dataset).name

    def _path(self, which: str, dataset: str) -> Path:
        record = read_records(self._lines(which, dataset))[-1]
        return self.folder / which / str(record["files"])


def install(model: Bundled, exports: Sequence[Path], before: int) -> None:
    """Put new weights in the place of the bundled ones; the old record is kept under the next number.

    Everything is written beside first. The weights themselves are renamed last: until then a reader sees the
    old ones, and shipping again repeats the rest.

    Args:
        model: the bundled model.
        exports: weights of the rounds, in order; the last ones are installed.
        before: pictures that the trunk had seen before the first of them.
    """
    weights = model.checkpoint
    with tempfile.TemporaryDirectory(dir=weights.parent, prefix=".ship") as beside:
        new = Path(beside)
        write_merged(new, weights.stem, exports, before)
        shutil.copyfile(exports[-1].with_suffix(".yaml"), new / f"{weights.stem}.yaml")
        shutil.copyfile(exports[-1], new / weights.name)
        for path in new.iterdir():
            path.chmod(0o644)
        _keep_old(weights, new)
        for path in sorted(new.iterdir(), key=lambda path: path.name == weights.name):
            path.replace(weights.parent / path.name)


def _keep_old(weights: Path, new: Path) -> None:
    """Copy the record and the curve of the bundled weights to the next free number, unless an interrupted
    shipping has replaced them already."""
    record = weights.with_suffix(".training.json")
    if not record.exists() or record.read_bytes() == (new / record.name).read_bytes():
        return
    number = 1
    while weights.with_name(f"{weights.stem}.{number}.training.json").exists():
        number += 1
    for kind in ("training.json", "curve.csv"):
        old = weights.with_name(f"{weights.stem}.{kind}")
        if old.exists():
            shutil.copyfile(old, weights.with_name(f"{weights.stem}.{number}.{kind}"))
