"""The benchmark's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from shared_tmu.bench.measured_model import SCOPES, MeasuredModel
from shared_tmu.bench.pipeline import PIPELINES
from shared_tmu.bench.profile import MAX_UNACCOUNTED, ProfileSettings, profile_parts
from shared_tmu.bench.report import (
    format_profile,
    format_scale,
    format_table,
    format_title,
    say_what_does_not_pay,
    say_what_is_unaccounted,
)
from shared_tmu.bench.runtimes import RUNTIMES
from shared_tmu.bench.scale import AXES, ScaleSettings, measure_scale
from shared_tmu.bench.speed import SpeedSettings, measure_speed
from shared_tmu.bench.suites import SUITES, run_suite
from shared_tmu.errors import InputError
from shared_tmu.files import shortened
from shared_tmu.methods import find_method
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import (
    DEVICE_HELP,
    MAX_BATCH,
    METHOD_HELP,
    choose_device,
    named_path,
    natural,
    positive,
    split_list,
)
from shared_tmu.programs.learned_files import add_learned_flag, choose_learned
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.results import append_record, describe_environment, read_records, require_writable
from shared_tmu.runtime.precision import DTYPES, choose_dtype

T = TypeVar("T")

_MOST = {"--batch": MAX_BATCH, "--tokens": 1 << 16, "--depth": 256}
"""Upper limits: with larger values a program would run out of memory."""

_ABOUT = """
Time a model with token merging and compare it with three references: the unpatched model, the slicing floor
(the same blocks, which only drop tokens down to the same counts: the best possible speed on this hardware),
and the ratio of FLOPs. The variants of a row run in turn in one process, after a warm-up; figures are medians
and quartiles of the ratios within a round.
"""


def make_parser(sizes: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of the options; without `sizes` it only has to find out which model is named."""
    parser = argparse.ArgumentParser(
        prog="python -m shared_tmu.bench",
        description=_ABOUT,
        allow_abbrev=False,
    )
    add = parser.add_argument
    if not sizes:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--model", help="an installed model: hamer, wilor, smplest-x")
        what.add_argument(
            "--scale", action="store_true", help="time a trunk of growing size; see --scale --help"
        )
    choices = f"one of {', '.join(sizes)}" if sizes else "such as vit-h (random weights) or thin"
    add("--size", default=sizes[0] if sizes else None, help=f"{choices}; default: the model's first")
    add("--checkpoint", type=named_path, metavar="FILE", help="weights to time instead of a --size")
    add("--r", default="5x20,8x16,10x16,12x8+6x8", help="comma-separated list of schedules")
    add("--batch", default="2,8", help="comma-separated list of crops per call")
    add("--dtype", default="float32", help=f"comma-separated list of auto, {', '.join(DTYPES)}")
    add("--runtime", default="eager", help=f"comma-separated list of {', '.join(RUNTIMES)}")
    add("--device", default="auto", help=DEVICE_HELP)
    add("--scope", choices=SCOPES, default="model", help="the whole model, or only its ViT")
    add("--method", default="tome", help=f"one of {METHOD_HELP}")
    add_learned_flag(add, named_path)
    add("--no-unmerge", action="store_true", help="the head reads the merged tokens")
    add("--rounds", type=positive, default=30, help="timed rounds")
    add("--warmup", type=natural, default=2, help="untimed rounds before these")
    add("--budget", type=float, default=60.0, metavar="SECONDS", help="per row; at least 5 rounds")
    add(
        "--suite",
        choices=SUITES,
        help="run a named set of measurements with targets; --r, --batch, --dtype and --runtime are ignored",
    )
    add("--only", default="", metavar="NAMES", help="for --suite: comma-separated list of its measurements")
    add("--profile", action="store_true", help="time each part of the pipeline, on pictures")
    add("--pictures", type=Path, metavar="FOLDER", help="for --profile; default: the sample pictures")
    add("--json", type=Path, metavar="FILE", help="append each result as soon as it is measured")
    add(
        "--resume",
        action="store_true",
        help="skip results that FILE already has for this commit, machine and versions",
    )
    return parser


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    return run_program(lambda: _run_model(program, arguments))


def _run_model(program: ModelProgram, arguments: Sequence[str] | None) -> None:
    parser = make_parser(list(program.sizes))
    given = parser.parse_args(arguments)
    if given.only and not given.suite:
        parser.error(
            "--only selects measurements of a --suite, but there is no --suite: add it, or leave --only out"
        )
    if given.profile and (given.suite or given.resume):
        parser.error(
            f"--profile cannot be combined with {'--suite' if given.suite else '--resume'}: leave one of "
            "the two out"
        )
    _require_writable(given.json)
    run = _run_suite if given.suite else _run_profile if given.profile else _run_speed
    run(program, given)


def _require_writable(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            require_writable(path)


def run_scale(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of `--scale` and return its exit status."""
    return run_program(lambda: _run_scale(_scale_parser().parse_args(arguments)))


def _scale_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shared_tmu.bench --scale",
        description="How time and memory grow with tokens, images and blocks, for a narrow trunk made for "
        "this purpose.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--scale", action="store_true", help=argparse.SUPPRESS)
    for axis, values in AXES.items():
        add(f"--{axis}", default=",".join(map(str, values)), help="comma-separated list, default %(default)s")
    add("--device", default="auto", help=DEVICE_HELP)
    add("--dtype", default="float32", help=f"one of auto, {', '.join(DTYPES)}")
    add("--rounds", type=positive, default=20, help="timed rounds per point")
    add("--budget", type=float, default=5.0, metavar="SECONDS", help="per point; at least 5 rounds")
    add("--json", type=Path, metavar="FILE", help="append one line per point")
    return parser


def _run_scale(given: argparse.Namespace) -> None:
    _require_writable(given.json)
    device = choose_device(given.device)
    settings = ScaleSettings(
        device,
        _read_dtype(given.dtype, device),
        {
            axis: _read_list(f"--{axis}", getattr(given, axis), partial(_read_whole, f"--{axis}"))
            for axis in AXES
        },
        given.rounds,
        given.budget,
    )
    records = _keep(measure_scale(settings, Path.cwd()), given.json)
    _write([format_scale(records)])


def _run_speed(program: ModelProgram, given: argparse.Namespace) -> None:
    subject = _subject(program, given)
    settings = SpeedSettings(
        schedules=tuple(_read_list("--r", given.r, subject.read_schedule)),
        batch_sizes=tuple(_read_list("--batch", given.batch, partial(_read_whole, "--batch"))),
        dtypes={name: _read_dtype(name, subject.device) for name in _read_list("--dtype", given.dtype, str)},
        runtimes=tuple(_read_list("--runtime", given.runtime, str)),
        rounds=given.rounds,
        warmup=given.warmup,
        budget_s=given.budget,
    )
    records = _keep(measure_speed(program, subject, settings, _known(given)), given.json)
    _write_speed(records)


def _run_suite(program: ModelProgram, given: argparse.Namespace) -> None:
    suite = SUITES[given.suite]
    subject = _subject(program, given)
    only = _read_list("--only", given.only, str) if given.only else []
    known = _known(given)
    records = _keep(run_suite(suite, program, subject, known, only), given.json)
    _write_speed(records)
    if not only:
        commit = describe_environment(subject.device, program.folder)["commit"]
        judged = [*(record for record in known if record.get("commit") == commit), *records]
        _write(["", *(str(target.judge(judged)) for target in suite.targets)])


def _run_profile(program: ModelProgram, given: argparse.Namespace) -> None:
    subject = _subject(program, given)
    settings = ProfileSettings(
        schedules=tuple(_read_list("--r", given.r, subject.read_schedule)),
        batch_sizes=tuple(_read_list("--batch", given.batch, partial(_read_whole, "--batch"))),
        dtypes={name: _read_dtype(name, subject.device) for name in _read_list("--dtype", given.dtype, str)},
        pictures=_find_pictures(program, given.pictures),
        rounds=given.rounds,
        warmup=given.warmup,
    )
    records = _keep(profile_parts(subject, settings), given.json)
    _write([format_profile(records), *say_what_is_unaccounted(records, MAX_UNACCOUNTED)])


def _find_pictures(program: ModelProgram, given: Path | None) -> Path:
    """The pictures to profile on.

    Raises:
        InputError: they do not exist, or would not be used.
    """
    if given is None:
        return program.folder.parent / "assets" / "samples"
    if program.estimates.name not in PIPELINES:
        raise InputError(
            f"{program.name} is profiled without pictures, on random crops: leave --pictures out."
        )
    if not given.exists():
        raise InputError(f"--pictures {given} does not exist: name a folder of pictures, or one picture.")
    return given


def _subject(program: ModelProgram, given: argparse.Namespace) -> MeasuredModel:
    device, method = choose_device(given.device), find_method(given.method).name
    learned = choose_learned(given.learned, [method], given.checkpoint)[method]
    size = given.size if given.checkpoint is None else given.checkpoint.stem
    how = (device, given.scope, method, not given.no_unmerge, learned, given.checkpoint)
    return MeasuredModel(program, size, *how)


def _keep(records: Iterable[dict[str, Any]], path: Path | None) -> list[dict[str, Any]]:
    """All records; each is appended to the file as soon as it is measured."""
    kept = []
    for record in records:
        kept.append(record)
        if path is not None:
            append_record(path, record)
    return kept


def _known(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Records of results that need not be measured again.

    Raises:
        InputError: `--resume` is given without a results file.
    """
    if not given.resume:
        return []
    if given.json is None:
        raise InputError("--resume continues a results file, but none was named: add --json FILE.")
    return read_records(given.json)


def _write_speed(records: Sequence[dict[str, Any]]) -> None:
    if records:
        _write([format_title(records[0]), "", format_table(records), *say_what_does_not_pay(records)])
    else:
        _write(["The file already has all these results."])


def _write(lines: Sequence[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _read_list(flag: str, text: str, read: Callable[[str], T]) -> list[T]:
    """The items of a comma-separated list, without repeats.

    Raises:
        InputError: the list is empty.
    """
    return list(dict.fromkeys(read(part) for part in split_list(flag, text)))


def _read_whole(flag: str, text: str) -> int:
    most = _MOST[flag]
    if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise InputError(f"{flag} {shortened(text, 40)!r}: use whole numbers from 1 to {most}, such as 2,8.")
    return int(text)


def _read_dtype(name: str, device: torch.device) -> torch.dtype:
    return choose_dtype(name, device).dtype
