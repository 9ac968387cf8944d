"""What runs without POSIX, as on Windows: every module loads, and the demo gives the same files."""

import subprocess
import sys
from pathlib import Path

import pytest
from toy_demo import contents, demo_program, run, write_boxes, write_pictures

TESTS = Path(__file__).resolve().parents[1]
MODULES = """
import importlib, pkgutil, sys
sys.path[:0] = [{tests!r}, {here!r}]
import like_windows
like_windows.install()
import shared_tmu
from shared_tmu.errors import MissingDependencyError
beside = ("device_code", "layout", "__main__")  # Triton's kernels, gradio's page, programs
for found in pkgutil.walk_packages(shared_tmu.__path__, "shared_tmu."):
    if not found.name.endswith(beside) and "device_code" not in found.name:
        importlib.import_module(found.name)
import shared_tmu.demo.ledger, shared_tmu.demo.drawing
assert not hasattr(shared_tmu.demo.ledger.os, "O_NONBLOCK")  # they saw the other one
"""
DEMO = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
import like_windows
like_windows.install()
from toy_demo import demo_program, run
at = Path(sys.argv[1])
sys.exit(run(demo_program(at / "model"), at / "images", at / "other", boxes=at / "boxes.json"))
"""


def python(code, *arguments):
    filled = code.format(tests=str(TESTS), here=str(Path(__file__).parent))
    command = [sys.executable, "-c", filled, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


def test_every_module_loads():
    done = python(MODULES)
    assert done.returncode == 0, done.stderr


def test_the_demo_gives_the_same_files_and_says_that_nothing_locks_its_folder(tmp_path):
    images, boxes = write_pictures(tmp_path / "images"), write_boxes(tmp_path / "boxes.json")
    assert run(demo_program(tmp_path / "model"), images, tmp_path / "out", boxes=boxes) == 0
    done = python(DEMO, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cannot lock folders: let no other run write to" in done.stderr
    assert contents(tmp_path / "other") == contents(tmp_path / "out")


@pytest.mark.parametrize("name", ["fcntl", "termios", "resource"])
def test_the_imitation_hides_modules_of_posix_from_our_code_only(name):
    code = f"""
import sys
sys.path[:0] = [{{tests!r}}, {{here!r}}]
import like_windows
like_windows.install()
import {name}
try:
    exec("import {name}", {{{{"__name__": "shared_tmu.x"}}}})
except ModuleNotFoundError:
    sys.exit(0)
sys.exit(1)
"""
    assert python(code).returncode == 0
