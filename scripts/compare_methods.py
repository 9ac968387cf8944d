"""Compare methods, schedules and restores on a bundled model: error against tokens, FLOPs and measured time.

    python scripts/compare_methods.py --model hamer                  # all of it
    python scripts/compare_methods.py --model hamer --stage errors   # whatever else runs
    python scripts/compare_methods.py --model hamer --stage times    # with nothing else running
    python scripts/compare_methods.py --model hamer --stage draw

Unless the command line lists methods, schedules, restores or profiles, it compares every method at three
schedules of the thesis, the other restores and the profiles (flat, falling, late; at the same FLOPs) with
ToMe. Methods that learn run untrained; `measure_learned.py` says what their files are worth. Errors are
those of eval.py on the first samples of the model's own set, with stability; times are
measured in turn with the unpatched model and the slicing floor of the same tokens. It writes
`assets/<model>_methods.jsonl`, fills the tables of METHODS.md and the costs in the docstrings of the
methods, and draws the figure; of lists of your own it prints the tables. Running the same command again
continues after an interruption.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

import evaluate_bundled
import figures
import method_costs
import update_tables
from bundled import BUNDLED
from method_lines import Asked, Planned, combine
from method_tables import show_best
from method_thresholds import Counted, find_thresholds
from method_times import known_times, time_missing
from method_ways import (
    BASE,
    BUDGETS,
    PROFILES,
    PUBLISHED,
    Way,
    all_ways,
    find_schedule,
    flops_of,
    group_runs,
    reads_thresholds,
    usual_ways,
)

from shared_tmu.errors import InputError
from shared_tmu.flops import TrunkShape
from shared_tmu.method_parts.restores import COPY, find_restore
from shared_tmu.methods import METHODS, find_method
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import positive, split_list
from shared_tmu.programs.model_program import find_program
from shared_tmu.programs.trunk_shapes import shape_of
from shared_tmu.schedule import Schedule

STAGES = ("errors", "times", "draw")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare as the command line says; returns the exit status."""
    given = make_parser().parse_args(arguments)
    model, stages = BUNDLED[given.model], STAGES if given.stage == "all" else (given.stage,)
    program = find_program(model.stem)
    shape = shape_of(program, program.load_model(None))
    plans = plan(read_ways(given), shape, partial(find_thresholds, model, shape))
    asked = Asked(model, plans, given.limit)
    if "errors" in stages and (status := measure_errors(asked, given.stability, given.jobs)):
        return status
    if "times" in stages:
        time_missing(asked, given.rounds, given.batch_size)
    if "draw" not in stages:
        return 0
    lines = combine(asked, known_times(asked, given.batch_size))
    if lists_anything(given):
        evaluate_bundled.write_lines(model.folder / "results" / f"{model.stem}-methods.jsonl", lines)
        sys.stdout.write(f"\n{update_tables.make_table(lines)}\n{show_best(lines)}")
        return 0
    evaluate_bundled.write_lines(model.lines("methods"), lines)
    return figures.redraw([model.lines("methods")]) or update_tables.main([]) or method_costs.main([])


def lists_anything(given: argparse.Namespace) -> bool:
    """Whether the command line asks for a comparison of its own."""
    return any((given.method, given.r, given.restore, given.profile))


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add("--stage", choices=("all", *STAGES), default="all", help="what to do; default: all")
    add("--method", help=f"comma-separated list of {', '.join(METHODS)}")
    add("--r", help=f"comma-separated list of schedules; default: {','.join(BUDGETS)}")
    add("--restore", help=f"comma-separated list of restores; default: {COPY}")
    add("--profile", help=f"comma-separated list of {', '.join(PROFILES)}; default: {PUBLISHED}")
    add("--limit", type=positive, default=200, help="samples; default: 200")
    add("--stability", type=positive, default=8, help="samples to measure stability on; default: 8")
    add("--rounds", type=positive, default=5, help="timed rounds of each way; default: 5")
    add("--batch_size", type=positive, default=8, help="images per timed call; default: 8")
    add("--jobs", type=positive, default=2, help="errors: programs at a time, one thread each; default: 2")
    return parser


def read_ways(given: argparse.Namespace) -> list[Way]:
    """The ways that a command line asks for.

    Raises:
        TMUError: one of them does not exist.
    """
    if not lists_anything(given):
        return usual_ways()
    profiles = split_list("--profile", given.profile or PUBLISHED)
    if unknown := [name for name in profiles if name not in PROFILES]:
        raise InputError(f"there is no profile {unknown[0]!r}: use one of {', '.join(PROFILES)}.")
    methods = [find_method(name).name for name in split_list("--method", given.method or ",".join(METHODS))]
    restores = [find_restore(name).name for name in split_list("--restore", given.restore or COPY)]
    budgets = [str(Schedule.parse(text)) for text in split_list("--r", given.r or ",".join(BUDGETS))]
    budgets = [text for text in budgets if text != "off"]
    if not budgets:
        raise InputError("--r off merges nothing, and is always measured: name schedules that merge.")
    ways = all_ways(methods, budgets, restores, profiles)
    # differences are from ToMe at the same budget
    return list(dict.fromkeys([*(Way(budget) for budget in budgets), *ways]))


def plan(ways: Sequence[Way], shape: TrunkShape, count: Callable[[Way], Counted]) -> tuple[Planned, ...]:
    """Find the schedule of every way; those that cannot spend their budget are left out, which is said.

    Args:
        ways: the ways.
        shape: sizes of the trunk.
        count: finds a schedule of thresholds and what it costs, see `method_thresholds`.
    """
    found, whole = [], flops_of(BASE, "off", shape)
    for way in ways:
        if reads_thresholds(way.method):
            found.append(Planned(way, *count(way)))
        elif schedule := find_schedule(way, shape):
            found.append(Planned(way, schedule, flops_of(way.method, schedule, shape) / whole))
        else:
            free = shape.num_tokens - shape.num_prefix_tokens
            sys.stdout.write(
                f"Left out: {way.method}, {way.profile}, with the FLOPs of {way.budget}: {free} tokens are "
                "too few.\n"
            )
    return tuple(found)


def measure_errors(asked: Asked, stability: int, jobs: int) -> int:
    """Run eval.py for what it has not measured; returns its exit status."""
    shared = ["--limit", str(asked.limit), "--stability", str(stability), "--rounds", "0"]
    shared += ["--learned", "none"]
    # first alone: all others need its errors
    if status := evaluate_bundled.run_all(asked.model, [[*shared, "--r", "off"]], jobs=1):
        return status
    commands = [[*shared, *flags] for flags in group_runs(asked.runs)]
    return evaluate_bundled.run_all(asked.model, commands, jobs)


if __name__ == "__main__":
    sys.exit(run_program(main))
