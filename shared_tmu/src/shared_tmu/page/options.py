"""The page's command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared_tmu.errors import InputError
from shared_tmu.programs.flags import FlagParser

LOOPBACK = "127.0.0.1"
PORT = 7860
MOST_MB = 20


@dataclass(frozen=True)
class PageOptions:
    """All settings of a command line.

    Attributes:
        host: address to listen on; other machines reach the page only if it is not the loopback.
        port: its port; 0 takes a free one.
        device: where models run.
        models: names of the models to offer; empty for all that are installed.
        max_mb: size limit of an upload in megabytes.
    """

    host: str = LOOPBACK
    port: int = PORT
    device: str = "auto"
    models: tuple[str, ...] = ()
    max_mb: int = MOST_MB


def parse_options(arguments: Sequence[str] | None = None) -> PageOptions:
    """Read a command line; None reads the process's own.

    Raises:
        InputError: a number is out of range.
    """
    parser = FlagParser(
        prog="python -m shared_tmu.page",
        description="A page in the browser that shows what merging does to meshes, and what it saves.",
    )
    add = parser.add_argument
    add("--host", default=LOOPBACK, help="address to listen on; 0.0.0.0 lets other machines in (%(default)s)")
    add("--port", type=int, default=PORT, help="its port; 0 takes a free one (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (%(default)s)")
    add("--model", action="append", default=[], help="offer this model only; may be repeated (all installed)")
    add("--max_mb", type=int, default=MOST_MB, help="size limit of an upload in megabytes (%(default)s)")
    given = parser.parse_args(arguments)
    for name, value, low, high in (("port", given.port, 0, 65535), ("max_mb", given.max_mb, 1, 1000)):
        if not low <= value <= high:
            raise InputError(f"--{name} {value} was asked for: use {low} to {high}.")
    return PageOptions(given.host, given.port, given.device, tuple(given.model), given.max_mb)
