"""`--learned`: what a method has learned reaches every program, or the program does not start."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_vit import ToyViT

import shared_tmu
from shared_tmu import METHODS, Method, Schedule, patch
from shared_tmu.errors import CheckpointError, InputError
from shared_tmu.evaluation.run_lists import read_runs
from shared_tmu.method_parts.places import Between
from shared_tmu.method_parts.reductions import Merge
from shared_tmu.method_parts.seen import Needs, Seen
from shared_tmu.methods import table
from shared_tmu.plans.matching import plan_most_similar
from shared_tmu.programs.flags import choose_learned
from shared_tmu.programs.model_program import Run


def plan_projected(seen: Seen, r: int) -> Merge:
    layer = seen.read_learned(nn.ModuleList)[seen.layer]
    return Merge(plan_most_similar(layer(seen.metric), r))


def make(blocks) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(8, 4) for _ in blocks)


@pytest.fixture(autouse=True)
def learning(monkeypatch):
    row = Method("learning", Between(plan_projected), Needs.KEYS | Needs.SIZES, learn=make)
    monkeypatch.setattr(shared_tmu.methods, "METHODS", table(*METHODS.values(), row))


class Program:
    """As much of a `ModelProgram` as a `Run` needs."""

    @staticmethod
    def patch(model, *arguments, **options):
        return patch(model, *arguments, **options)


@torch.no_grad()
def test_a_run_has_what_was_learned(tmp_path):
    vit, x, file = ToyViT(depth=3).eval(), torch.randn(2, 24, 32), tmp_path / "learned.safetensors"
    with patch(vit, "5x3", "learning") as handle:
        want = vit(x)
        handle.save_learned(file)
    run = Run(Schedule.parse("5x3"), "learning", unmerge=True, learned=file)
    for _ in range(2):
        with run.patched(Program, vit):
            assert torch.equal(vit(x), want)
    with pytest.raises(CheckpointError):
        run.patched(Program, other := ToyViT(depth=4))
    patch(other, "5x2").remove()  # it was given back unpatched


def test_refused_by_one_sentence(tmp_path):
    file = tmp_path / "learned.safetensors"
    with pytest.raises(InputError, match=r"'learning' has learned parts, .* pass --learned FILE"):
        choose_learned(None, ["tome", "learning"])
    with pytest.raises(InputError, match="is not a file"):
        choose_learned(file, ["learning"])
    file.write_bytes(b"")
    with pytest.raises(InputError, match="tome has none"):
        choose_learned(file, ["tome"])
    assert choose_learned(file, ["tome", "learning"]) == file
    assert choose_learned(None, ["tome"]) is None


def test_only_the_method_that_learns_reads_it(tmp_path):
    file = tmp_path / "learned.safetensors"
    file.write_bytes(b"")
    runs = read_runs("off,5x2", "tome,learning", unmerge=True, learned=file)
    assert {run.method: run.learned for run in runs if not run.schedule.is_off} == {
        "tome": None, "learning": file,
    }  # fmt: skip
    with pytest.raises(InputError, match="--learned"):
        read_runs("5x2", "learning", unmerge=True)
