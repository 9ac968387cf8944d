"""Commands, run in the process of the tests: one of their own would load torch first."""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit status, and what it wrote."""

    code: int
    stdout: str
    stderr: str


def run_command(
    program: Path | str,
    words: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Ended:
    """Run a file from its folder, or a module (`package.program`) from where we are, to its `sys.exit`."""
    monkeypatch.setattr(sys, "argv", [str(program), *words])
    monkeypatch.setattr(logging.root, "handlers", [])  # or messages go to pytest instead of stderr
    capsys.readouterr()
    run = runpy.run_module
    if isinstance(program, Path):
        monkeypatch.chdir(program.parent)
        monkeypatch.syspath_prepend(program.parent)
        run = runpy.run_path
    with pytest.raises(SystemExit) as ended:
        run(str(program), run_name="__main__")
    written = capsys.readouterr()
    return Ended(int(ended.value.code or 0), written.out, written.err)
