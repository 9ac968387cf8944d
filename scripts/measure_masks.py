"""Measures the effect of masks on a bundled model: errors, orientation, scale, stability, and the cost of
masks.

    python scripts/measure_masks.py --model hamer
    python scripts/measure_masks.py --model hamer --limit 1000 --photos ~/photographs

Runs eval.py with every mask at 5x20, 8x16, 12x8+6x8 and 10x16, with the unpatched model and plain TMU, and
some masks by the rule `background first` at two of these schedules: on the first samples of the model's own
set, and on a folder of photographs, if one is given and the model estimates hands. Writes
`assets/<model>_masks.jsonl` and fills the tables of the READMEs. Running the same command again continues
after an interruption.

On photographs the `landmarks` also score the predictions, so compare only `box`, `probe` and `none` there.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import evaluate_bundled
import update_tables
from bundled import BUNDLED, Bundled
from comparison import Run

from shared_tmu.masks import MaskPlace, mask_names
from shared_tmu.method_parts.restores import COPY
from shared_tmu.programs.console import run_program

SCHEDULES = "5x20,8x16,12x8+6x8,10x16"
SCHEDULES_FIRST, FIRST = "8x16,12x8+6x8", "box,probe,truth"
BESIDE = "landmarks+probe"
"""Measured beside `probe`, which the demo takes: whether landmarks would add to it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with the options of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add("--photos", type=Path, metavar="DIR", help="folder of photographs of hands")
    add(
        "--r",
        default=SCHEDULES,
        help=f"comma-separated list of schedules in addition to off; default: {SCHEDULES}",
    )
    add("--r_first", default=SCHEDULES_FIRST, help="the same by the rule background first")
    add("--limit", type=int, default=200, help="number of samples of the generated set; default: 200")
    add(
        "--stability",
        type=int,
        default=24,
        help="number of samples whose box is moved by a pixel; default: 24",
    )
    add("--rounds", type=int, default=0, help="timed rounds per schedule; default: 0, not timed")
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    shared = ["--stability", str(given.stability), "--rounds", str(given.rounds)]
    weighed, first = ["--r", f"off,{given.r}"], ["--r", given.r_first, "--background", "first"]
    own = ["--limit", str(given.limit)]
    all_masks = ["--mask", ",".join(masks_for(given.model, with_truth=True))]
    strict = ["--mask", FIRST]
    commands = [[*shared, *weighed, *all_masks, *own], [*shared, *first, *strict, *own]]
    limits: dict[str, int | None] = {model.dataset: given.limit}
    if given.photos is not None and model.photos:
        named = ["--mask", ",".join(masks_for(given.model, with_truth=False))]
        where = ["--dataset", "photos", "--data_dir", str(given.photos.resolve())]
        commands.append([*shared, *weighed, *named, *where])
        limits["photos"] = None
    if status := evaluate_bundled.run_all(model, commands, jobs=1):
        return status
    order, lines = by_schedule(["off", *given.r.split(",")]), []
    for dataset, limit in limits.items():
        lines += sorted(newest(model, dataset, limit, given.stability), key=order)
    evaluate_bundled.write_lines(model.lines("masks"), [{**run, "kind": "masks"} for run in lines])
    return update_tables.main([])


def by_schedule(order: Sequence[str]) -> Callable[[Run], int]:
    """A key by which lines of one schedule come together, in the order of the command line."""
    return lambda run: order.index(run["schedule"]) if run["schedule"] in order else len(order)


def masks_for(name: str, *, with_truth: bool) -> list[str]:
    """Masks that are available for a bundled model's set, or for photographs; `none` first.

    Sets of people have true meshes, but no key points in the detector's order.
    """
    subject = BUNDLED[name].subject
    names = mask_names(MaskPlace(subject, has_truth=with_truth, is_video=False))
    return [name for name in (*names, BESIDE) if name != "keypoints" or subject == "hand"]


def newest(
    model: Bundled, dataset: str, limit: int | None, stability: int, methods: Sequence[str] = ("tome",)
) -> list[Run]:
    """The last line of the bundled weights for each method, schedule, mask and rule.

    Args:
        model: the bundled model.
        dataset: name of the set.
        limit: number of samples that was asked for; None: all.
        stability: number of samples whose box was moved.
        methods: those whose lines are wanted.

    Raises:
        InputError: eval.py has left no lines on these samples.
    """
    found: dict[tuple[str, str, str, float | None], Run] = {}
    for run in evaluate_bundled.asked_lines(model, dataset, limit, stability):
        how = run["unmerge"], run["protect"], run.get("restore", COPY), run.get("layers")
        if run["method"] in methods and how == (True, "first", COPY, None):
            key = run["method"], run["schedule"], run["mask"], run.get("mask_weight")
            found.pop(key, None)
            found[key] = run
    return list(found.values())


if __name__ == "__main__":
    sys.exit(run_program(main))
