"""Trains the bundled models on and on, one slice of time after the other, until it is asked to stop.

    python scripts/train_on.py                      # goes on from where it stopped, or from shipped weights
    touch DIR/stop                                  # or Ctrl-C, or `kill`: stops after the step
    python scripts/train_on.py --status             # one line: what has been reached
    python scripts/train_on.py --ship hamer --photos ~/photographs

It takes the model that gains most, trains rounds of `train.py --config-name more` on one core at the lowest
priority, and draws fresh scenes in a fifth of the time: never fewer than one for 15 pictures that are seen.
The hand models take turns on one trunk; the model of bodies gets a third of the time. Checkpoints are written
every few minutes, and everything goes on after any end, `kill -9` included.

DIR, the state, is --state, $TMU_TRAIN_ON, or tmu_train_on in the user's cache folder. Without it training
goes on from the shipped weights. Errors of --status are those of 300 held-out scenes of the training.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bundled import BUNDLED, REPOSITORY
from training_parts.keeping import is_locked, locked, read_state, state_folder
from training_parts.running import ROUND_S, SLICE_S, Options, TrainingOn
from training_parts.scenes import count_fresh, find_sets
from training_parts.shipping import ship
from training_parts.telling import status_line

from shared_tmu.errors import InputError
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import named_path
from shared_tmu.training.stopping import Stop, Stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on, tell or ship with the options of the command line; returns the exit status."""
    given = _parse(arguments)
    folder = state_folder(given.state)
    cache = (given.cache or folder / "cache").expanduser().resolve()
    if folder.is_relative_to(REPOSITORY):
        raise InputError(f"--state {folder} is inside the repository: name a folder outside of it.")
    if given.status:
        return tell(folder, cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--state {folder} cannot be made ({reason}): name another folder.") from error
    with locked(folder) as held:
        if given.ship:
            return ship(given.ship, folder, given.photos)
        return train(given, folder, cache, held)


def train(given: argparse.Namespace, folder: Path, cache: Path, held: int) -> int:
    """Train until asked to stop, by a signal, the file `stop` or --minutes."""
    with Stop() as stop:
        stop.waits = True

        def until(seconds: float) -> bool:
            is_late = given.minutes is not None and seconds > 60 * given.minutes
            return stop.asked is not None or is_late

        options = Options(
            folder,
            cache,
            models=given.model or list(BUNDLED),
            slice_s=60 * given.slice,
            round_s=60 * given.round,
            more=given.set or (),
            until=until,
            held=(held,),
        )
        try:
            TrainingOn(options).run()
        except Stopped as stopped:  # a second signal
            return stopped.status
    return 0


def tell(folder: Path, cache: Path) -> int:
    """Write one line about what has been reached."""
    state = read_state(folder)
    known = {subject: drawing.known for subject, drawing in state.drawing.items()} if state else {}
    fresh = {subject: count_fresh(find_sets(cache, subject), seeds) for subject, seeds in known.items()}
    names = {name: model.name for name, model in BUNDLED.items()}
    sys.stdout.write(f"{status_line(state, fresh, names, is_locked(folder))}\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--state", type=named_path, metavar="DIR", help="folder of the state, outside the repository")
    add("--cache", type=named_path, metavar="DIR", help="folder of the scenes; default: DIR/cache")
    add("--model", choices=BUNDLED, action="append", help="only these models")
    add("--slice", type=minutes, default=SLICE_S / 60, metavar="MINUTES", help="of one program; default 15")
    add("--round", type=minutes, default=ROUND_S / 60, metavar="MINUTES", help="of a round; default 90")
    add("--minutes", type=minutes, help="stop after this time; default: only when asked")
    add("--set", action="append", metavar="KEY=VALUE", help="of train.py, for new rounds: setting.ema=0.999")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--status", action="store_true", help="tell in one line what has been reached")
    act.add_argument(
        "--ship",
        choices=BUNDLED,
        help="replace the bundled weights if the newest are 3 %% better and not worse on photographs",
    )
    add("--photos", type=named_path, metavar="DIR", help="for --ship: folder of photographs of hands")
    return parser.parse_args(arguments)


def minutes(text: str) -> float:
    """A positive number of minutes.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes: give one above 0, such as 15.")
    return value


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(run_program(main))
