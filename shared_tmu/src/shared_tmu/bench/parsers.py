"""The benchmark's command lines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from shared_tmu.bench.measured_model import SCOPES
from shared_tmu.bench.runtimes import RUNTIMES
from shared_tmu.bench.scale import AXES
from shared_tmu.bench.suites import SUITES
from shared_tmu.classification.timed import TIMED_HELP
from shared_tmu.programs.flags import DEVICE_HELP, METHOD_HELP, FlagParser, named_path, natural, positive
from shared_tmu.programs.learned_files import add_learned_flag
from shared_tmu.runtime.precision import DTYPES

_ABOUT = """
Time a model with token merging and compare it with three references: the unpatched model, the slicing floor
(the same blocks, which only drop tokens down to the same counts: the best possible speed on this hardware),
and the ratio of FLOPs. The variants of a row run in turn in one process, after a warm-up; figures are medians
and quartiles of the ratios within a round.
"""


def make_parser(sizes: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of the options; without `sizes` it only has to find out which model is named."""
    parser = FlagParser(
        prog="python -m shared_tmu.bench",
        description=_ABOUT,
        allow_abbrev=False,
    )
    add = parser.add_argument
    if not sizes:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--model", help=f"an installed model: hamer, wilor, smplest-x; or {TIMED_HELP}")
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
    add("--method", default="tome", help=f"comma-separated list of {METHOD_HELP}")
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
        help="skip results that FILE already has for this commit, machine and versions, of as many rounds",
    )
    return parser


def make_scale_parser() -> argparse.ArgumentParser:
    """The parser of `--scale`."""
    parser = FlagParser(
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
