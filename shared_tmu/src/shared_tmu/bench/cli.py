"""The benchmark's command line, as a model folder's `tmu/bench.py` runs it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from shared_tmu.bench.program import BenchProgram
from shared_tmu.bench.records import append_record
from shared_tmu.bench.report import format_table, format_title, say_what_does_not_pay
from shared_tmu.bench.runtimes import RUNTIMES
from shared_tmu.bench.speed import SpeedSettings, measure_speed
from shared_tmu.bench.subject import SCOPES, Subject
from shared_tmu.errors import InputError, TMUError
from shared_tmu.methods import METHODS, find_method
from shared_tmu.schedule import Schedule

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "auto": None}
T = TypeVar("T")
_log = logging.getLogger(__name__)

_ABOUT = """
Time a model with token merging against three yardsticks: the unpatched model, the slicing floor (the same
blocks that simply drop tokens to the same counts: what this hardware could give at best), and the arithmetic
saved. Everything of one batch size is measured in turn in one process, after a warm-up; figures are ratios of
medians, with quartiles of the ratios within the rounds.
"""


def make_parser(sizes: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The options; without `sizes`, of the command that still has to find the model."""
    parser = argparse.ArgumentParser(
        prog="python -m tmu.bench" if sizes else "python -m shared_tmu.bench",
        description=_ABOUT,
        allow_abbrev=False,
    )
    add = parser.add_argument
    if not sizes:
        add("--model", required=True, help="hamer, ...: the folder <model>_TMU")
    choices = f"one of {', '.join(sizes)}" if sizes else "such as vit-h (random weights) or thin"
    add("--size", default=sizes[0] if sizes else None, help=f"{choices}; default: the first the model has")
    add("--r", default="5x20,8x16,10x16,12x8+6x8", help="comma list of schedules")
    add("--batch", default="2,8", help="comma list of crops per call")
    add("--dtype", default="float32", help=f"comma list of {', '.join(DTYPES)}")
    add("--runtime", default="eager", help=f"comma list of {', '.join(RUNTIMES)}")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    add("--scope", choices=SCOPES, default="model", help="the whole model, or its ViT alone")
    add("--method", default="tome", help=f"one of {', '.join(METHODS)}")
    add("--no-unmerge", action="store_true", help="the head reads the short sequence")
    add("--rounds", type=_positive, default=30, help="timed rounds")
    add("--warmup", type=_natural, default=2, help="rounds before these")
    add("--budget", type=float, default=60.0, metavar="SECONDS", help="per batch size; at least 5 rounds")
    add("--json", type=Path, metavar="FILE", help="append one line per result")
    return parser


def main(program: BenchProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    given = make_parser(list(program.sizes)).parse_args(arguments)
    try:
        _run_speed(program, given)
    except TMUError as error:
        _log.error("%s: %s", type(error).__name__, error)
        return 1
    except KeyboardInterrupt:
        _log.error("Interrupted.")
        return 130
    return 0


def _run_speed(program: BenchProgram, given: argparse.Namespace) -> None:
    from shared_tmu.evaluation.settings import choose_device

    device = choose_device(given.device)
    settings = SpeedSettings(
        schedules=tuple(_read_list("--r", given.r, Schedule.parse)),
        batch_sizes=tuple(_read_list("--batch", given.batch, _read_batch)),
        dtypes={name: _read_dtype(name, device) for name in _read_list("--dtype", given.dtype, str)},
        runtimes=tuple(_read_list("--runtime", given.runtime, str)),
        rounds=given.rounds,
        warmup=given.warmup,
        budget_s=given.budget,
    )
    method = find_method(given.method).name
    subject = Subject(program, given.size, device, given.scope, method, not given.no_unmerge)
    records = []
    for record in measure_speed(program, subject, settings):
        records.append(record)
        if given.json is not None:
            append_record(given.json, record)
    lines = [format_title(records[0]), "", format_table(records), *say_what_does_not_pay(records)]
    sys.stdout.write("\n".join(lines) + "\n")


def _read_list(flag: str, text: str, read: Callable[[str], T]) -> list[T]:
    """A comma list without repeats.

    Raises:
        InputError: it is empty.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InputError(f"{flag} is empty: name at least one, separated by commas.")
    return list(dict.fromkeys(read(part) for part in parts))


def _read_batch(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise InputError(f"--batch {text!r}: use whole numbers of at least 1, such as 2,8.")
    return int(text)


def _read_dtype(name: str, device: torch.device) -> torch.dtype:
    if name not in DTYPES:
        raise InputError(f"--dtype {name!r}: use {', '.join(DTYPES)}.")
    if (dtype := DTYPES[name]) is not None:
        return dtype
    from shared_tmu.demo.options import choose_dtype

    return choose_dtype(name, device)


def _positive(text: str) -> int:
    if (count := _natural(text)) == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def _natural(text: str) -> int:
    if not text.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not {text!r}")
    return int(text)
