"""What a benchmark keeps of its rows, and takes from a file that it continues."""

from typing import ClassVar

import pytest
import torch
from toy_bench import TOKENS
from toy_hand_model import program_of
from toy_vit import ToyViT

from shared_tmu.bench import cli, speed
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.random_models import build_random
from shared_tmu.programs.results import read_records
from shared_tmu.programs.timing import Timing


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
    for module in (speed, cli):
        if hasattr(module, "describe_environment"):
            monkeypatch.setattr(module, "describe_environment", lambda device, folder: dict(environment))
    file = tmp_path / "bench.jsonl"

    def call(options):
        given = f"--size small --batch 1 --device cpu --json {file} {options}"
        assert cli.main(program, given.split()) == 0
        return read_records(file)

    return call


def test_a_row_with_nan_is_kept_without_an_error_and_the_next_is_measured(bench, caplog):
    records = bench("--r 3x3 --dtype float32,bfloat16 --rounds 2")
    assert [(r["dtype"], r["schedule"]) for r in records] == [
        (dtype, schedule) for dtype in ("float32", "bfloat16") for schedule in ("off", "3x3")
    ]
    assert [r["vertex_error_mm"] is None for r in records] == [False, False, True, True]
    assert "3x3 in bfloat16 with eager, batch 1: vertices are not finite" in caplog.text
