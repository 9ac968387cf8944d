"""One command for the programs of an installed model package: `hamer-tmu demo --r 8x16 ...`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from shared_tmu.errors import MissingDependencyError
from shared_tmu.programs.console import run_program

PROGRAMS = {
    "demo": "meshes over pictures or a video",
    "eval": "accuracy and speed on an evaluation set",
    "export": "an ONNX file with merging inside",
    "train": "a model on our own renders, in outputs/ of the current folder",
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
    found: list[Callable[[], int | None]] = []
    status = run_program(lambda: found.append(_run_of(f"{package}.{words[0]}")))
    return status or found[0]() or 0  # a program guards itself


def _run_of(module: str) -> Callable[[], int | None]:
    """The function of a program.

    Raises:
        MissingDependencyError: a package that only this program needs is not installed.
    """
    try:
        run: Callable[[], int | None] = import_module(module).run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in (module.split(".")[0], "shared_tmu"):
            raise
        extra = module.rpartition(".")[2]
        raise MissingDependencyError(
            f"{extra} needs the package {error.name}, which is not installed: "
            f"pip install 'shared_tmu[{extra}]'."
        ) from error
    return run


def _explain(command: str, words: Sequence[str], asks: bool) -> int:
    lines = [f"usage: {command} PROGRAM [OPTION ...]", ""]
    lines += [f"  {name:8}{about}" for name, about in PROGRAMS.items()]
    lines += ["", f"{command} PROGRAM --help lists the options of a program."]
    if words and not asks:
        lines.insert(0, f"{command} has no program {words[0]!r}.")
    (sys.stdout if asks else sys.stderr).write("\n".join(lines) + "\n")
    return 0 if asks else 2
