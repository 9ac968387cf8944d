"""Train a small classifier with and without merging: does a model that has learned with it lose less?

    python scripts/train_with_merging.py               # Fashion-MNIST, some five minutes on one core
    python scripts/train_with_merging.py --epochs 0 --more_epochs 5    # from scratch

A small ViT (6 blocks, 64 channels, 49 patches) is trained without merging. Then two copies of it train on, on
the same pictures in the same order, one of them with --r in every step. Both are judged on the test pictures
with and without merging. Results go to a line of --out.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from shared_tmu.classification.arrays import ArrayPictures
from shared_tmu.classification.small_training import (
    SMALL,
    TOKENS,
    SmallClassifier,
    SmallRecipe,
    as_input,
    compare_drops,
    is_right,
    train_alike,
    train_small,
)
from shared_tmu.classification.sources import FASHION, LabelledSource, find_source
from shared_tmu.errors import InputError
from shared_tmu.methods import count_tokens, find_method
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import METHOD_HELP, named_path, natural, positive, positive_number
from shared_tmu.programs.results import append_record, describe_environment, require_writable
from shared_tmu.schedule import Schedule


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and compare; returns the exit status."""
    given = make_parser().parse_args(arguments)
    schedule, method = str(Schedule.parse(given.r)), find_method(given.method).name
    if Schedule.parse(schedule).is_off:
        raise InputError("--r off trains without merging, which is always done: name a schedule that merges.")
    kept = count_tokens(method, Schedule.parse(schedule), SMALL.depth, *TOKENS)[-1]
    require_writable(given.out)
    source = find_source(given.data, "train")
    img, labels, count = tensors_of(source, given.limit)
    test_img, test_labels, _ = tensors_of(find_source(given.data, "test"), given.test_limit)
    first = SmallRecipe(given.epochs, given.batch_size, given.lr, seed=given.seed)
    more = SmallRecipe(given.more_epochs, given.batch_size, given.more_lr, seed=given.seed + 1)
    start = SmallClassifier(count, seed=given.seed)
    train_small(start, img, labels, "off", method, first)
    plain, trained = train_alike(start, img, labels, schedule, method, more)
    right = [
        tuple(is_right(model, test_img, test_labels, each, method) for each in ("off", schedule))
        for model in (plain, trained)
    ]
    record = {
        "kind": "training",
        "data": source.name,
        "method": method,
        "schedule": schedule,
        "tokens_kept": kept,
        "tokens": TOKENS[0],
        "epochs": first.epochs,
        "more_epochs": more.epochs,
        "more_lr": more.lr,
        "seed": given.seed,
        "n_train": len(labels),
        "n_test": len(test_labels),
        **compare_drops(right[0], right[1]),
        **describe_environment(torch.device("cpu"), Path(__file__).parent),
    }
    append_record(given.out, record)
    sys.stdout.write(show(record))
    return 0


def tensors_of(source: LabelledSource, limit: int | None) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Inputs `[N, 3, 28, 28]`, classes `[N]`, and the number of classes.

    Raises:
        InputError: the pictures are not 28 x 28 pixels in an archive.
    """
    pictures = source.pictures
    if not isinstance(pictures, ArrayPictures) or pictures.grey.shape[1:] != (28, 28):
        raise InputError(
            f"--data {source.name}: this trains on pictures of 28 x 28 pixels in MNIST's files; name "
            f"{FASHION}, or a folder with the four files."
        )
    return as_input(pictures.grey[:limit]), torch.tensor(source.labels[:limit]), len(source.classes)


def show(record: dict[str, object]) -> str:
    """The record as a table."""
    top1 = record["top1_pct"]
    assert isinstance(top1, dict)
    lines = [
        f"{record['method']} {record['schedule']}, {record['n_train']} pictures, {record['epochs']} + "
        f"{record['more_epochs']} epochs"
    ]
    lines += [f"{'trained':12}{'off':>10}{'merged':>10}"]
    lines += [f"{way:12}{top1[f'{key}_off']:>10.2f}{top1[f'{key}_merged']:>10.2f}" for way, key in _WAYS]
    for name, about in _DIFFERENCES:
        low, high = record[f"{name}_interval_95"]  # type: ignore[misc]
        lines.append(f"{about}: {record[name]:.2f} points ({low:.2f} to {high:.2f})")
    return "\n".join(lines) + "\n"


_WAYS = (("without", "plain"), ("with", "trained"))
_DIFFERENCES = (
    ("drop", "lost by merging off the shelf"),
    ("gap", "lost by training and running with merging"),
    ("own_drop", "the same model, with merging and without"),
    ("regained", "regained by training"),
)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", default=FASHION, help=f"{FASHION}, or a folder with MNIST's four files; default: {FASHION}")
    add("--r", default="0.5x3", help="schedule; default: 0.5x3, which leaves 7 of 49 patch tokens")
    add("--method", default="tome", help=f"one of {METHOD_HELP}; default: tome")
    add("--limit", type=positive, default=8000, help="training pictures; default: 8000")
    add("--test_limit", type=positive, default=10000, help="test pictures; default: 10000")
    add("--epochs", type=natural, default=5, help="without merging, before; 0: from scratch; default: 5")
    add("--more_epochs", type=positive, default=3, help="of both copies; default: 3")
    add("--batch_size", type=positive, default=64, help="default: 64")
    add("--lr", type=positive_number, default=2e-3, help="of the first epochs; default: 0.002")
    add("--more_lr", type=positive_number, default=1e-3, help="of the copies; default: 0.001")
    add("--seed", type=natural, default=0, help="of weights and order; default: 0")
    add(
        "--out",
        type=named_path,
        default=Path("results/training.jsonl"),
        help="default: results/training.jsonl",
    )
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main))
