"""The kernel registry and its runner: no speed without green tests, and none from a CPU."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]
pytest.importorskip("triton")


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.syspath_prepend(TESTS.parent / "benchmarks")
    yield importlib.import_module("run")
    for name in ("run", "registry"):
        sys.modules.pop(name, None)


def test_every_kernel_names_tests_that_exist(runner):
    for kernel in runner.KERNELS.values():
        file, expression = kernel.tests
        names = [line for line in (TESTS / file).read_text().splitlines() if line.startswith("def test_")]
        assert [n for n in names if any(word in n for word in (expression or "test").split(" or "))]


@pytest.mark.parametrize("is_green", [False, True])
def test_no_speed_before_the_tests_are_green(runner, is_green, monkeypatch, capsys, tmp_path):
    timed = []

    def time_case(case, device, rounds):
        timed.append(case)
        times = {"kernel_us": 1.0, "reference_us": 2.0}
        return {"speedup": 2.0, "speedup_quartiles": [1.9, 2.1], **times}

    case = runner.Case("one shape", lambda: None, lambda: None)
    kernel = runner.Kernel("a; b", ("test_kernels.py", ""), lambda device, dtype: iter([case]))
    monkeypatch.setattr(runner, "KERNELS", {"toy": kernel})
    monkeypatch.setattr(runner, "verify", lambda kernel, device: (is_green, "1 tests passed"))
    monkeypatch.setattr(runner, "time_case", time_case)
    monkeypatch.setattr(runner, "choose_device", torch.device)  # as if there were a GPU
    monkeypatch.setattr(runner, "describe_environment", lambda device, folder: {"commit": "abc"})
    out = tmp_path / "kernels.jsonl"
    assert runner.main(["--device", "cuda", "--json", str(out)]) == (0 if is_green else 1)
    assert ("2.00x" in capsys.readouterr().out) == bool(timed) == out.exists() == is_green


def test_a_case_that_breaks_takes_nothing_from_the_others(runner, monkeypatch, capsys, tmp_path):
    def time_case(case, device, rounds):
        if case.name == "two":
            raise RuntimeError("out of registers")
        return {"speedup": 2.0, "speedup_quartiles": [1.9, 2.1], "kernel_us": 1.0, "reference_us": 2.0}

    cases = [runner.Case(name, lambda: None, lambda: None) for name in ("one", "two", "three")]
    kernel = runner.Kernel("a; b", ("test_kernels.py", ""), lambda device, dtype: iter(cases))
    monkeypatch.setattr(runner, "KERNELS", {"toy": kernel})
    monkeypatch.setattr(runner, "verify", lambda kernel, device: (True, "1 tests passed"))
    monkeypatch.setattr(runner, "time_case", time_case)
    monkeypatch.setattr(runner, "choose_device", torch.device)  # as if there were a GPU
    monkeypatch.setattr(runner, "describe_environment", lambda device, folder: {"commit": "abc"})
    out = tmp_path / "kernels.jsonl"
    assert runner.main(["--device", "cuda", "--json", str(out)]) == 1
    assert "two: FAILED, RuntimeError: out of registers" in capsys.readouterr().out
    assert [json.loads(line)["case"] for line in out.read_text().splitlines()] == ["one", "three"]


def test_a_cpu_says_that_speed_needs_a_gpu(runner, monkeypatch, capsys):
    monkeypatch.setattr(runner, "verify", lambda kernel, device: (True, "3 tests passed"))
    assert runner.main(["merge", "--device", "cpu"]) == 0
    assert "its speed needs a GPU" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        runner.main(["warp"])


@pytest.mark.parametrize("name", ["plan", "match", "merge", "widen", "attention"])
def test_cases_compute_the_same_shapes(runner, name, monkeypatch):
    """The references run, on a CPU, at small shapes; the kernels' own tests compare numbers."""
    monkeypatch.setattr(sys.modules["registry"], "SHAPES", ((2, 44),))
    monkeypatch.setattr(sys.modules["registry"], "WIDTH", 16)
    cases = list(runner.KERNELS[name].cases(torch.device("cpu"), torch.bfloat16))
    assert len(cases) == 1
    assert cases[0].reference() is not None
