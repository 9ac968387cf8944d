"""Tries changes of the training recipe: short runs of HaMeR-Thin from random weights, at equal pictures.

    python scripts/try_training.py --cache DIR                     # every variant, with seeds 1 and 2
    python scripts/try_training.py --cache DIR --variant present,mixed --pictures 60000
    python scripts/try_training.py --cache DIR --set lr2e-3 stages.half.lr=0.002 --variant lr2e-3
    touch STATE/stop                                               # or Ctrl-C, or `kill`
    python scripts/try_training.py --table                         # what has been found so far
    python scripts/try_training.py --publish                       # the same, into assets/ and the model card

Each variant is `train.py --config-name trial` with a few settings of its own: half of the patches for four
fifths of the pictures, then all of them, on one core at the lowest priority. Scenes, their order for a seed,
and the held-out renders are those of the present recipe. One run at a time; all variants get the first seed
before one gets the second, and everything goes on after any end, `kill -9` included.

The weights as trained (`own`) and their moving average (`average`) of every run are measured on 2,000
held-out renders, with all patches. Errors of each picture are kept, so that intervals of differences are of
pairs; they tell nothing about the spread between seeds, which another column shows.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import evaluate_bundled
import update_tables
from bundled import BUNDLED, REPOSITORY
from comparison import Run
from train_on import minutes
from training_parts.keeping import STOP, locked, state_folder
from training_parts.scenes import find_sets
from training_parts.trial_table import trial_lines
from training_parts.trials import BASELINE, PICTURES, VARIANTS, Trial, frozen_sets, list_trials, own_variants
from training_parts.trying import KINDS, Trying
from trial_tables import TRIAL_TABLES

from shared_tmu.errors import InputError
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import named_path, positive, split_list
from shared_tmu.programs.results import read_records
from shared_tmu.training.stopping import Stop, Stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Try, or tell, with the options of the command line; returns the exit status."""
    given = _parse(arguments)
    state = (given.state or state_folder(None) / "trials").expanduser().resolve()
    if state.is_relative_to(REPOSITORY):
        raise InputError(f"--state {state} is inside the repository: name a folder outside of it.")
    variants = {**VARIANTS, **own_variants(given.set or ())}
    names = split_list("--variant", given.variant) if given.variant else list(variants)
    seeds = [_seed(text) for text in split_list("--seeds", given.seeds)]
    trials = list_trials(variants, names, seeds, given.pictures)
    against = list_trials(variants, [given.against], seeds, given.pictures)
    shown = [*against, *(trial for trial in trials if trial.variant != given.against)]
    status = 0 if given.table or given.publish else _try(given, state, trials)
    model = BUNDLED["hamer"]
    lines = [{**line, "model": model.name} for line in trial_lines(shown, state, KINDS, given.against)]
    sys.stdout.write(update_tables.make_table(lines) if lines else "No trial is finished.\n")
    return publish(model.lines("trials"), lines) if given.publish else status


def publish(path: Path, lines: Sequence[Run]) -> int:
    """Put lines into a results file, in place of earlier ones on the same variants whose seeds are among
    theirs, and fill the tables.

    Raises:
        InputError: there are none, or one does not tell where it was measured.
    """
    if untold := [line["variant"] for line in lines if "commit" not in line]:
        raise InputError(
            f"the runs of {untold[0]!r} do not tell at which commit they were measured: remove the folders "
            "errors of theirs, and run it with --cache DIR again."
        )
    if not lines:
        raise InputError("--publish was asked for, but no trial is finished: run it with --cache DIR first.")
    names = [name for name in TRIAL_TABLES["trial"].identity if name != "seeds"]
    found = [([line[name] for name in names], set(line["seeds"])) for line in lines]
    kept = [
        line
        for line in read_records(path)
        if not any(
            same == [line[name] for name in names] and set(line["seeds"]) <= seeds for same, seeds in found
        )
    ]
    evaluate_bundled.write_lines(path, [*kept, *lines])
    return update_tables.main([])


def _try(given: argparse.Namespace, state: Path, trials: Sequence[Trial]) -> int:
    if given.cache is None:
        raise InputError("--cache is missing: name the folder of the scenes.")
    cache = given.cache.expanduser().resolve()
    state.mkdir(parents=True, exist_ok=True)
    with locked(state, program="try_training.py") as held, Stop() as stop:
        (state / STOP).unlink(missing_ok=True)  # it asks a program that runs, not the next one
        stop.waits = True

        def is_over(seconds: float) -> bool:
            is_late = given.minutes is not None and seconds > 60 * given.minutes
            return stop.asked is not None or is_late or (state / STOP).exists()

        sets = frozen_sets(state, find_sets(cache, "hand"))
        try:
            Trying(BUNDLED["hamer"], state, cache, sets, is_over, (held,)).run(trials)
        except Stopped as stopped:  # a second signal
            return stopped.status
        finally:
            (state / STOP).unlink(missing_ok=True)
    return 0


def _seed(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10**6:
        raise InputError(f"--seeds {text!r} is no seed: use whole numbers from 1 to 999999, such as 1,2.")
    return int(text)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--state", type=named_path, help="folder of all runs; default: trials in that of train_on.py")
    add("--cache", type=named_path, metavar="DIR", help="folder of the scenes; those found first are used")
    add("--variant", help=f"comma-separated list of {', '.join(VARIANTS)} or of --set; default: all")
    add("--set", nargs="+", action="append", metavar="NAME KEY=VALUE", help="a further variant")
    add("--against", default=BASELINE, metavar="NAME", help=f"what is subtracted; default: {BASELINE}")
    add("--seeds", default="1,2", help="comma-separated list; default: 1,2")
    add("--pictures", type=positive, default=PICTURES, help=f"of each run; default: {PICTURES:,}")
    add("--minutes", type=minutes, help="stop after this time; default: only when asked")
    add("--table", action="store_true", help="only write the table of what has been found")
    add("--publish", action="store_true", help="only put what has been found into assets/ and the model card")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(run_program(main))
