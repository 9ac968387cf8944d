"""The benchmark's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from shared_tmu.bench.measured_model import MeasuredModel
from shared_tmu.bench.parsers import make_parser, make_scale_parser
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
from shared_tmu.bench.scale import AXES, ScaleSettings, measure_scale
from shared_tmu.bench.speed import SpeedSettings, measure_speed
from shared_tmu.bench.suites import SUITES, judge_suite, run_suite
from shared_tmu.errors import InputError
from shared_tmu.files import shortened
from shared_tmu.methods import find_method
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import (
    MAX_BATCH,
    choose_device,
    split_list,
)
from shared_tmu.programs.learned_files import choose_learned
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.program import Program
from shared_tmu.programs.results import append_record, read_records, require_writable
from shared_tmu.runtime.precision import choose_dtype

T = TypeVar("T")

_MOST = {"--batch": MAX_BATCH, "--tokens": 1 << 16, "--depth": 256}
"""Upper limits: with larger values a program would run out of memory."""


def main(program: Program, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    return run_program(lambda: _run_model(program, arguments))


def _run_model(program: Program, arguments: Sequence[str] | None) -> None:
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
    for name in ("runtime", "budget") if given.profile else ():
        if getattr(given, name) != parser.get_default(name):
            parser.error(
                f"--profile times parts of the plain model, a fixed number of --rounds: leave --{name} out"
            )
    if given.pictures and not given.profile:
        parser.error("--pictures are for --profile, and speed is measured on random crops: leave it out")
    if not given.suite and not given.profile:
        _require_writable(given.json)
        return _run_speed(program, given)
    what = "--suite" if given.suite else "--profile"
    if not isinstance(program, ModelProgram):
        parser.error(f"{what} measures models of meshes, and {program.name} is a classifier: leave it out")
    if "," in given.method:
        parser.error(f"{what} measures one --method at a time")
    _require_writable(given.json)
    return (_run_suite if given.suite else _run_profile)(program, given)


def _require_writable(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            require_writable(path)


def run_scale(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of `--scale` and return its exit status."""
    return run_program(lambda: _run_scale(make_scale_parser().parse_args(arguments)))


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


def _run_speed(program: Program, given: argparse.Namespace) -> None:
    records: list[dict[str, Any]] = []
    first, known = _subject(program, given), _known(given)
    for method in _methods(given):
        subject = first.running(method, learned=_learned(given)[method])
        records += _keep(measure_speed(program, subject, _settings(subject, given), known), given.json)
    _write_speed(records)


def _settings(subject: MeasuredModel, given: argparse.Namespace) -> SpeedSettings:
    return SpeedSettings(
        schedules=tuple(_read_list("--r", given.r, subject.read_schedule)),
        batch_sizes=tuple(_read_list("--batch", given.batch, partial(_read_whole, "--batch"))),
        dtypes={name: _read_dtype(name, subject.device) for name in _read_list("--dtype", given.dtype, str)},
        runtimes=tuple(_read_list("--runtime", given.runtime, str)),
        rounds=given.rounds,
        warmup=given.warmup,
        budget_s=given.budget,
    )


def _run_suite(program: ModelProgram, given: argparse.Namespace) -> None:
    suite = SUITES[given.suite]
    subject = _subject(program, given)
    only = _read_list("--only", given.only, str) if given.only else []
    known = _known(given)
    records = _keep(run_suite(suite, program, subject, known, only), given.json)
    _write_speed(records)
    if not only:
        _write(["", *map(str, judge_suite(suite, program, subject, known, records))])


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


def _subject(program: Program, given: argparse.Namespace) -> MeasuredModel:
    device, method = choose_device(given.device), _methods(given)[0]
    learned = _learned(given)[method]
    size = given.size if given.checkpoint is None else given.checkpoint.stem
    how = (device, given.scope, method, not given.no_unmerge, learned, given.checkpoint)
    return MeasuredModel(program, size, *how)


def _methods(given: argparse.Namespace) -> list[str]:
    return _read_list("--method", given.method, lambda text: find_method(text).name)


def _learned(given: argparse.Namespace) -> dict[str, Path | None]:
    return choose_learned(given.learned, _methods(given), given.checkpoint)


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
