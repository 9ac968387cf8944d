"""The flags that say which results are made."""

from __future__ import annotations

import argparse

from shared_tmu.demo.engine import add_engine_flags
from shared_tmu.programs.flags import named_path, natural, positive_number


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Add flags about files and pictures, and where the work is done."""
    group = parser.add_argument_group("results")
    add, switch = group.add_argument, argparse.BooleanOptionalAction
    add(
        "--focal",
        type=positive_number,
        help="focal length of the whole image in pixels; default: 5000/256 x its longer side",
    )
    add("--overlays", action=switch, default=True, help="draw meshes over the photographs")
    add(
        "--save_params",
        action=switch,
        default=True,
        help="save all parameters, one .npz and one .json per image",
    )
    add(
        "--compare",
        action="store_true",
        help="also show baseline, merge-only and TMU side by side, with their times",
    )
    add("--tokens", action="store_true", help="also show which tokens merged, block by block")
    add("--resume", action="store_true", help="keep results of an earlier run with the same options")
    add(
        "--draw_processes",
        type=natural,
        help="number of processes that draw and make meshes while the model runs; 0: a thread of the main "
        "process does it; default: one per core, fewer for few images",
    )
    add("--report", type=named_path, help="append a record of the time spent to this JSON-lines file")
    add_engine_flags(group)
