"""The one command of a model package: it runs the program that it is told to, or says which there are."""

import sys
from types import SimpleNamespace

import pytest

from shared_tmu.programs.command import PROGRAMS, run_command


@pytest.fixture
def ran(monkeypatch):
    """What was run, and with which command line."""
    ran = []
    monkeypatch.setattr(sys, "argv", ["toy-tmu"])
    for name in PROGRAMS:
        run = lambda name=name: ran.append((name, list(sys.argv)))  # noqa: E731
        monkeypatch.setitem(sys.modules, f"toy_tmu.{name}", SimpleNamespace(run=run))
    monkeypatch.setitem(sys.modules, "toy_tmu", SimpleNamespace())
    return ran


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_gets_its_own_words(name, ran):
    assert run_command("toy_tmu", [name, "--r", "off"]) == 0
    assert ran == [(name, [f"toy-tmu {name}", "--r", "off"])]


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["Train"], ["Demo"]])
def test_what_it_does_not_know_is_answered_with_what_there_is(words, ran, capsys):
    asked = words in (["--help"], ["-h"])
    assert run_command("toy_tmu", words) == (0 if asked else 2)
    output = capsys.readouterr()
    text = output.out if asked else output.err
    assert all(name in text for name in (*PROGRAMS, *(words if not asked else ())))
    assert (output.err if asked else output.out) == ""
    assert ran == []


def test_a_package_that_only_one_program_needs_is_named(monkeypatch, tmp_path, capsys, caplog):
    package = tmp_path / "lacking_tmu"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "train.py").write_text("import no_such_package.part\n")
    (package / "eval.py").write_text("import lacking_tmu.nothing\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert run_command("lacking_tmu", ["train", "out=x"]) == 1
    told = capsys.readouterr().err + caplog.text
    assert "train needs the package no_such_package" in told
    assert "shared_tmu[train]" in told
    with pytest.raises(ModuleNotFoundError):  # a fault of ours stays one
        run_command("lacking_tmu", ["eval"])
