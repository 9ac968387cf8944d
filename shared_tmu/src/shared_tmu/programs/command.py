"""One command for the programs of an installed model package: `hamer-tmu demo --r 8x16 ...`.

Training is left out: it needs a clone, where it keeps its runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from shared_tmu.programs.console import run_program

PROGRAMS = {
    "demo": "meshes over pictures or a video",
    "eval": "accuracy and speed on an evaluation set",
    "export": "an ONNX file with merging inside",
}
"""Modules of a model package that the command runs, and what each makes."""


def run_command(package: str, arguments: Sequence[str] | None = None) -> int:
    """Run the program that the first argument names; None takes the process's own arguments.

    Args:
        package: import name of the model package.
        arguments: name of the program, then its own arguments.

    Returns:
        The exit status: 2 if there is no such program.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = package.replace("_", "-")
    if not words or words[0] not in PROGRAMS:
        asks = words[:1] in (["-h"], ["--help"])
        return run_program(lambda: _explain(command, words, asks))
    sys.argv = [f"{command} {words[0]}", *words[1:]]  # where the programs look
    status: int | None = import_module(f"{package}.{words[0]}").run()
    return status or 0


def _explain(command: str, words: Sequence[str], asks: bool) -> int:
    lines = [f"usage: {command} PROGRAM [OPTION ...]", ""]
    lines += [f"  {name:8}{about}" for name, about in PROGRAMS.items()]
    lines += ["", f"{command} PROGRAM --help lists the options of a program."]
    if words and not asks:
        lines.insert(0, f"{command} has no program {words[0]!r}.")
    (sys.stdout if asks else sys.stderr).write("\n".join(lines) + "\n")
    return 0 if asks else 2
