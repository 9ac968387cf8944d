"""What a benchmark keeps of its rows, and takes from a file that it continues."""

from typing import ClassVar

import pytest
import torch
from toy_bench import TOKENS
from toy_hand_model import program_of
from toy_vit import ToyViT

from shared_tmu.bench import cli, speed, suites
from shared_tmu.bench.report import format_profile, say_what_does_not_pay
from shared_tmu.bench.speed import SpeedSettings
from shared_tmu.bench.suites import Suite, Target
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.random_models import build_random
from shared_tmu.programs.results import append_record, read_records
from shared_tmu.programs.timing import Timing
from shared_tmu.schedule import Schedule


class Overflowing(torch.nn.Module):
    """A ViT with a head that overflows in short number formats."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ToyViT(depth=4)
        self.head = torch.nn.Linear(32, 3)

    def forward(self, batch):
        vertices = self.head(self.backbone(batch["x"].to(self.head.weight.dtype)))
        return {"vertices": vertices if vertices.dtype == torch.float32 else vertices * torch.nan}


class SmallProgram(ModelProgram):
    """One size."""

    sizes: ClassVar = {"small": lambda: build_random(Overflowing)}


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Runs a command line with made-up times, and reads the file of results."""
    program = program_of(tmp_path, None, tmp_path, SmallProgram, estimates=TOKENS)

    def time_them(calls, device, *, rounds, **options):
        return {variant: Timing((2.0 + number,) * min(rounds, 6)) for number, variant in enumerate(calls)}

    monkeypatch.setattr(speed, "measure_calls", time_them)
    environment = {"versions": {}, "machine": {"processor": "x", "cpu_threads": 1}, "commit": "abc"}
    monkeypatch.setattr(speed, "describe_environment", lambda device, folder: dict(environment))
    file = tmp_path / "bench.jsonl"

    def call(options):
        given = f"--size small --batch 1 --device cpu --json {file} {options}"
        assert cli.main(program, given.split()) == 0
        return read_records(file)

    call.read = lambda: read_records(file)
    return call


def test_a_row_with_nan_is_kept_without_an_error_and_the_next_is_measured(bench, caplog):
    records = bench("--r 3x3 --dtype float32,bfloat16 --rounds 2")
    assert [(r["dtype"], r["schedule"]) for r in records] == [
        (dtype, schedule) for dtype in ("float32", "bfloat16") for schedule in ("off", "3x3")
    ]
    assert [r["vertex_error_mm"] is None for r in records] == [False, False, True, True]
    assert "3x3 in bfloat16 with eager, batch 1: vertices are not finite" in caplog.text


def test_a_suite_judges_only_its_own_measurements(bench, tmp_path, monkeypatch, capsys):
    settings = SpeedSettings((Schedule.parse("3x3"),), (1,), {"float32": torch.float32}, rounds=2, warmup=0)
    target = Target("overhead", lambda record: record["schedule"] != "off", "overhead", 0.05, is_most=True)
    suite = Suite("small", "cpu", {"one": settings}, (target,))
    monkeypatch.setattr(suites, "SUITES", {"small": suite})
    monkeypatch.setattr(cli, "SUITES", {"small": suite})
    monkeypatch.setattr("shared_tmu.bench.parsers.SUITES", {"small": suite})
    records = bench("--suite small")
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert verdict.startswith("reached  overhead")
    others = ({"model": "other"}, {"method": "pitome"}, {"kind": "profile"}, {"schedule": "1x1"},
              {"machine": {}}, {"batch_size": 2})  # fmt: skip
    for change in others:
        append_record(tmp_path / "bench.jsonl", {**records[1], "overhead": 0.9, **change})
    profile = {name: value for name, value in records[1].items() if name != "overhead"}
    append_record(tmp_path / "bench.jsonl", {**profile, "kind": "profile"})
    bench("--suite small --resume")
    assert capsys.readouterr().out.splitlines()[-1] == verdict
    append_record(tmp_path / "bench.jsonl", {**records[1], "overhead": 0.9})
    bench("--suite small --resume")
    assert capsys.readouterr().out.splitlines()[-1].startswith("MISSED  overhead")


def test_a_profile_compares_with_off_of_its_batch_size_and_dtype():
    def column(schedule, batch_size, dtype, whole_ms):
        alike = {"shares": {"MLP": 1.0}, "unaccounted": 0.0, "batch_size": batch_size, "dtype": dtype}
        return {**alike, "schedule": schedule, "whole_ms": whole_ms}

    columns = [("off", 2, "float32", 100.0), ("5x20", 2, "float32", 80.0), ("off", 2, "bfloat16", 50.0)]
    columns += [("5x20", 2, "bfloat16", 45.0), ("off", 8, "float32", 400.0), ("5x20", 8, "float32", 300.0)]
    last = format_profile([column(*each) for each in columns]).splitlines()[-1]
    found = last.partition("whole, of off")[2].replace("%", "").split()
    assert found == ["100.0", "80.0", "100.0", "90.0", "100.0", "75.0"]


def test_rows_of_fewer_rounds_are_measured_again(bench):
    def added(options):
        before = len(bench.read())
        return len(bench(f"--r 3x3 --dtype float32 --resume {options}")) - before

    assert len(bench("--r 3x3 --dtype float32 --rounds 2 --warmup 1")) == 2
    for same in ("--rounds 2 --warmup 1", "--rounds 1 --warmup 1", "--rounds 2 --warmup 0 --budget 1"):
        assert added(same) == 0
    assert added("--rounds 2 --warmup 2") == 2
    assert added("--rounds 30 --warmup 2 --budget 10") == 2  # of which the budget stops it after 6
    assert added("--rounds 30 --warmup 2 --budget 10") == added("--rounds 40 --warmup 0 --budget 9") == 0
    assert added("--rounds 30 --warmup 2 --budget 11") == 2
    assert [record["rounds"] for record in bench.read()] == [2] * 4 + [6] * 4


def test_what_does_not_pay_is_named_with_its_method():
    row = {"schedule": "8x16", "batch_size": 2, "dtype": "float32", "runtime": "eager", "pays": False}
    row |= {"speedup": 0.9, "speedup_quartiles": [0.8, 0.95]}
    found = say_what_does_not_pay([{**row, "method": method} for method in ("tome", "pitome")])
    assert [sentence.split(" gives")[0] for sentence in found] == ["tome at 8x16", "pitome at 8x16"]
