"""Programs whose standard streams are closed, full, or read by somebody who goes away."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import shared_tmu

# the package's own __init__ loads torch, which would take longer than the tests
HEAD = f"""
import sys, types
package = types.ModuleType("shared_tmu")
package.__path__ = [{str(Path(shared_tmu.__file__).parent)!r}]
sys.modules["shared_tmu"] = package
from shared_tmu.programs.console import run_program
from shared_tmu.errors import InputError
"""
WORK = """
import argparse, logging
def work():
    if len(sys.argv) > 1:
        argparse.ArgumentParser(description="x" * 100_000).parse_args()
    print("a table")
    sys.stderr.write("progress\\n")
    sys.stdout.write("naive caf\\udce9\\n" * 100_000)
    logging.getLogger("shared_tmu.x").info("a message")
    with open({done!r}, "w") as file:
        file.write("all results")
"""


@pytest.fixture(params=["buffered", "unbuffered"], autouse=True)
def _buffered(request, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1" if request.param == "unbuffered" else "")


def run(tmp_path, ending, redirected, arguments="", work=WORK, before=""):
    """Exit status, stdout and stderr of a program in a shell, and whether its work was done."""
    done, script = tmp_path / "done", tmp_path / "program.py"
    script.write_text(HEAD + textwrap.dedent(work.format(done=str(done))) + textwrap.dedent(ending))
    command = f"{before}'{sys.executable}' '{script}' {arguments} {redirected}"
    words = ["bash", "-o", "pipefail", "-c", command]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    return result, done.is_file() and done.read_text() == "all results"


@pytest.mark.parametrize(
    ("redirected", "status", "sentence"),
    [("", 0, ""), (">&-", 0, "closed"), ("2>&-", 0, ""), (">&- 2>&-", 0, ""), ("<&-", 0, ""),
     (">&- 2>&- <&-", 0, ""), ("| head -1", 0, "Broken pipe"), ("2>&1 | head -1", 0, ""),
     ("| true", 0, "Broken pipe"),
     ("> /dev/full", 1, "No space left"), ("2> /dev/full", 0, ""), ("> /dev/full 2>&1", 1, "")],
)  # fmt: skip
def test_what_is_said_is_never_in_the_way_of_the_work(tmp_path, redirected, status, sentence):
    result, is_done = run(tmp_path, "sys.exit(run_program(work))", redirected)
    assert is_done
    assert result.returncode == status
    assert sentence in result.stderr
    assert ("cannot be written" in result.stderr) == bool(sentence)
    if not redirected:
        assert result.stdout.startswith("a table\n")
        assert result.stderr == "progress\na message\n"


def test_output_of_which_only_a_part_is_written_is_an_error(tmp_path):
    redirected = f"> '{tmp_path / 'output'}'"
    result, is_done = run(tmp_path, "sys.exit(run_program(work))", redirected, before="ulimit -f 64; ")
    assert is_done
    assert result.returncode == 1
    assert "cannot be written to (File too large)" in result.stderr


@pytest.mark.parametrize(
    ("redirected", "status"), [("", 0), ("| head -1", 0), ("> /dev/full", 1), (">&-", 0)]
)
def test_help_that_nobody_reads(tmp_path, redirected, status):
    result, is_done = run(tmp_path, "sys.exit(run_program(work))", redirected, "--help")
    assert not is_done
    assert result.returncode == status


@pytest.mark.parametrize("redirected", ["", "2>&-", "2>/dev/full", "> /dev/full", ">&-"])
@pytest.mark.parametrize(
    ("error", "status"),
    [("InputError('no such thing')", 1), ("KeyboardInterrupt", 130), ("SystemExit(2)", 2)],
)
def test_errors_are_one_sentence_and_keep_their_status(tmp_path, redirected, error, status):
    work = f"def work():\n    print('so far')\n    raise {error}\n"
    result, _ = run(tmp_path, "sys.exit(run_program(work))", redirected, work=work)
    assert result.returncode == status
    if not redirected and status == 1:
        assert result.stderr == "InputError: no such thing\n"


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ("open('/dev/full', 'w', buffering=1).write('x\\n')", "OSError: No space left on device\n"),
        ("open('nowhere/a')", "FileNotFoundError: nowhere/a: No such file or directory\n"),
    ],
)
def test_errors_of_the_system_are_one_sentence(tmp_path, action, sentence):
    work = f"def work():\n    file = {action}\n"
    result, _ = run(tmp_path, "sys.exit(run_program(work))", "", work=work)
    assert result.returncode == 1
    assert result.stderr == sentence


def test_files_do_not_take_the_place_of_a_closed_stream(tmp_path):
    """Else what libraries say would be written into results."""
    work = """
    import os
    def work():
        file = open({done!r}, "w")
        os.write(2, b"a library says so")
        os.write(1, b"a library says so")
        file.write("all results")
    """
    assert run(tmp_path, "sys.exit(run_program(work))", ">&- 2>&-", work=work)[1]
