"""sweep.py: one job for each combination, failures at the end, command lines of eval.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sweep
from omegaconf import OmegaConf

from shared_tmu.errors import InputError


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, list[str]]]:
    """What would have been evaluated; schedule 7 fails, and 9 is no flag that eval.py has."""
    done: list[tuple[str, list[str]]] = []

    def evaluate(program: Any, arguments: list[str]) -> int:
        done.append((program.name, arguments))
        if "9" in arguments:
            raise SystemExit(2)
        return int("7" in arguments)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "evaluate", evaluate)
    monkeypatch.setattr(sweep, "find_program", lambda name: SimpleNamespace(name=name))
    monkeypatch.setattr("sys.argv", ["sweep.py"])
    return done


def test_every_combination_is_a_job_and_failures_do_not_stop_the_rest(
    jobs: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    status = sweep.main(["-m", "model=hamer,wilor", "schedule=7,9,10x8+6x8", "results=out"])
    assert status == 1
    assert [(name, arguments[1]) for name, arguments in jobs] == [
        (model, schedule) for model in ("hamer", "wilor") for schedule in ("7", "9", "10x8+6x8")
    ]
    errors = capsys.readouterr().err
    assert errors.count("Not evaluated: hamer --r") == errors.count("Not evaluated: wilor --r") == 2
    assert "10x8" not in errors.partition("Not evaluated")[2]


def test_jobs_that_raise_are_listed_with_the_others(
    jobs: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find(name: str) -> SimpleNamespace:
        if name == "typo":
            raise InputError("there is no model 'typo'")
        if name == "broken":
            raise RuntimeError("a mistake of ours")
        return SimpleNamespace(name=name)

    monkeypatch.setattr(sweep, "find_program", find)
    assert sweep.main(["-m", "model=typo,broken,hamer", "schedule=7,5x20"]) == 1
    assert [name for name, _ in jobs] == ["hamer", "hamer"]
    told = [line.split()[2] for line in capsys.readouterr().err.splitlines() if "Not evaluated" in line]
    assert told == ["typo", "typo", "broken", "broken", "hamer"]


def test_flags_whose_quotes_do_not_close_are_a_sentence(
    jobs: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(["-m", "schedule=5x20,off", """flags='"--limit 2'"""]) == 1
    errors = capsys.readouterr().err
    assert errors.count("Not evaluated") == 2
    assert "Traceback" not in errors


def test_an_interrupt_ends_the_sweep(
    jobs: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "evaluate", lambda program, arguments: jobs.append(("", [])) or 130)
    assert sweep.main(["-m", "schedule=off,5x20,8x16"]) == 130
    assert len(jobs) == 1


def test_all_well_and_a_single_job(jobs: list[tuple[str, list[str]]]) -> None:
    assert sweep.main(["schedule=5x20"]) == 0
    assert jobs[0][1][:2] == ["--r", "5x20"]


def test_a_setting_that_does_not_exist_is_one_sentence(
    jobs: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(["-m", "schedul=5x20"]) == 1
    assert "ConfigError: schedul does not exist in this configuration" in capsys.readouterr().err
    assert jobs == []


def test_a_job_that_left_nothing_has_failed(tmp_path: Path) -> None:
    for name, text in (("0", '{"status": 0, "job": "a"}'), ("1", None), ("10", '{"status": 2, "job": "c"}')):
        (tmp_path / name).mkdir()
        if text:
            (tmp_path / name / sweep.STATUS).write_text(text)
    assert sweep.failed_jobs(tmp_path) == [f"{tmp_path / '1'} (it left nothing)", "c"]


def test_command_lines() -> None:
    changes = {"dataset": "ho3d-v2", "unmerge": False, "flags": "--limit 5 --columns all"}
    assert sweep.arguments_of(OmegaConf.create({**sweep.CONFIG, **changes})) == [
        *("--r", "off", "--method", "tome", "--mask", "none", "--rounds", "0", "--dataset", "ho3d-v2"),
        *("--no-unmerge", "--limit", "5", "--columns", "all"),
    ]
