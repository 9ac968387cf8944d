"""Time a training step of a classifier with and without merging, in turn; nothing else may be running.

    python scripts/time_training_step.py                    # sizes of ViT-S/14 at 224 pixels
    python scripts/time_training_step.py --model timm:vit_base_patch16_224 --r 8x12,16x12 --batch 16

Weights and pictures are random: the time does not depend on them. A step is forward, loss, backward.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared_tmu.classification.classifier import Classifier
from shared_tmu.classification.focus import NAME
from shared_tmu.classification.timed import TIMED_HELP, is_timed, timed_classifier
from shared_tmu.classification.training_step import random_batch, time_steps
from shared_tmu.errors import InputError
from shared_tmu.methods import find_method
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import (
    DEVICE_HELP,
    METHOD_HELP,
    choose_device,
    images_per_call,
    named_path,
    positive,
    split_list,
)
from shared_tmu.programs.results import append_record, describe_environment, require_writable
from shared_tmu.schedule import Schedule


def main(arguments: Sequence[str] | None = None) -> int:
    """Time as the command line says; returns the exit status."""
    given = make_parser().parse_args(arguments)
    schedules = [str(Schedule.parse(text)) for text in split_list("--r", given.r)]
    methods = [find_method(name).name for name in split_list("--method", given.method)]
    device = choose_device(given.device)
    require_writable(given.out)
    if not is_timed(given.model):
        raise InputError(f"--model {given.model}: steps are timed of {TIMED_HELP}.")
    model = timed_classifier(given.model).load_model(None)
    assert isinstance(model, Classifier)
    img, labels = random_batch(model.to(device), given.batch, device)
    facts: dict[str, Any] = {
        "kind": "training_step",
        "model": given.model,
        "batch_size": given.batch,
        **describe_environment(device, Path(__file__).parent),
    }
    for method in methods:
        for schedule in schedules:
            told = time_steps(model, img, labels, schedule, method, given.rounds)
            append_record(given.out, {**facts, "method": method, "schedule": schedule, **told})
            low, high = told["speedup_quartiles"]
            sys.stdout.write(
                f"{method} {schedule}: {told['off_ms']:.0f} ms without, {told['merged_ms']:.0f} ms with "
                f"merging, {told['speedup']:.2f}x as fast ({low:.2f}-{high:.2f})\n"
            )
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default=NAME, help=f"{TIMED_HELP}; default: {NAME}")
    add("--r", default="16x12", help="comma-separated list of schedules; default: 16x12")
    add("--method", default="tome", help=f"comma-separated list of {METHOD_HELP}; default: tome")
    add("--batch", type=images_per_call, default=8, help="pictures per step; default: 8")
    add("--rounds", type=positive, default=7, help="timed steps of each kind; default: 7")
    add("--device", default="auto", help=DEVICE_HELP)
    out = Path("results/training_steps.jsonl")
    add("--out", type=named_path, default=out, help=f"default: {out}")
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main))
