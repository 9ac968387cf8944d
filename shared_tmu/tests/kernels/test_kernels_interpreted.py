"""Runs test_kernels.py in Triton's interpreter, which a process must choose before it loads Triton."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).parents[3]


def test_kernels_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    options = ["-q", "-x", "-m", "not gpu", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    ran = subprocess.run(
        [*command, *options, str(Path(__file__).with_name("test_kernels.py"))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not re.search(r"\d+ skipped", ran.stdout), ran.stdout
    assert int(re.search(r"(\d+) passed", ran.stdout)[1]) > 100  # not an empty selection
