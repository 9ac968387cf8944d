"""Where the demo computes: on this machine, or on all machines of a Ray cluster."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from shared_tmu.demo.ray_cluster import place_of, require_ray
from shared_tmu.errors import InputError

LOCAL, RAY = "local", "ray"
_OF_ONE_MACHINE = {
    "camera": "it has one order of frames and one result",
    "video": "a clip has one order of frames and one result",
    "compare": "its times are those of one machine",
    "report": "its times are those of one machine",
}
"""Flags that a cluster cannot follow, and why."""


def add_engine_flags(group: argparse._ArgumentGroup) -> None:
    """Add `--engine` and `--ray_address`."""
    group.add_argument(
        "--engine",
        choices=(LOCAL, RAY),
        default=LOCAL,
        help="ray: all machines of a Ray cluster share the images; they must see the same files. Results are "
        "those of one machine",
    )
    group.add_argument(
        "--ray_address",
        help="address of the cluster, for --engine ray; default: RAY_ADDRESS, else this machine only",
    )


def require_distributable(given: Mapping[str, Any]) -> None:
    """Refuse flags that do not go with the engine.

    Raises:
        InputError: there are such flags; the message names them. Or the address cannot be used.
        MissingDependencyError: the engine is not installed.
    """
    if given["engine"] == LOCAL:
        if given["ray_address"] is not None:
            raise InputError("--ray_address names a cluster for --engine ray: add that, or leave it out.")
        return
    for flag, why in _OF_ONE_MACHINE.items():
        if given[flag]:
            raise InputError(f"--{flag} does not go with --engine ray, because {why}: leave one of them out.")
    place_of(given["ray_address"])
    require_ray()
