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
from shared_tmu.programs.learned_files import UNTRAINED, choose_learned, read_schedule
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
        choose_learned(None, ["tome", "learning"], None)
    with pytest.raises(InputError, match="is not a file"):
        choose_learned(file, ["learning"], None)
    file.write_bytes(b"")
    with pytest.raises(InputError, match="tome has none"):
        choose_learned(file, ["tome"], None)
    with pytest.raises(InputError, match="dtem, learning all learn"):
        choose_learned(file, ["dtem", "learning"], None)
    assert choose_learned(file, ["tome", "learning"], None) == {"tome": None, "learning": file}
    assert choose_learned(None, ["tome"], None) == {"tome": None}


def test_a_file_beside_the_weights_is_taken_and_named(tmp_path, caplog):
    caplog.set_level("INFO")
    weights = tmp_path / "toy.safetensors"
    assert choose_learned(None, ["dtem"], weights) == {"dtem": None}
    assert "dtem: untrained, since there is no toy.dtem.safetensors beside the weights" in caplog.text
    assert "train.py --config-name learned method=dtem (for weights of your own" in caplog.text
    beside = tmp_path / "toy.dtem.safetensors"
    beside.write_bytes(b"")
    assert choose_learned(None, ["dtem", "crossget", "tome"], weights) == {
        "dtem": beside, "crossget": None, "tome": None,
    }  # fmt: skip
    assert f"learned parts of {beside}" in caplog.text
    assert choose_learned(UNTRAINED, ["dtem", "crossget"], weights) == {"dtem": None, "crossget": None}
    assert choose_learned(None, ["dtem"], tmp_path / "other.safetensors") == {"dtem": None}


def test_only_the_method_that_learns_reads_it(tmp_path):
    file = tmp_path / "learned.safetensors"
    file.write_bytes(b"")
    runs = read_runs("off,5x2", "tome,learning", unmerge=True, learned=file)
    assert {run.method: run.learned for run in runs if not run.schedule.is_off} == {
        "tome": None, "learning": file,
    }  # fmt: skip
    with pytest.raises(InputError, match="--learned"):
        read_runs("5x2", "learning", unmerge=True)


def write_file(path, schedule: str, method: str = "ltmp"):
    with patch(ToyViT(depth=2), "off", method) as handle:
        handle.save_learned(path, **({"schedule": schedule} if schedule else {}))
    return path


def test_r_learned_is_the_schedule_in_the_file(tmp_path):
    text = "threshold:0.9/0.001x1+0.8/0.002x1"
    file = write_file(tmp_path / "learned.safetensors", text)
    assert read_schedule(" Learned ", "ltmp", file) == Schedule.parse(text)
    assert read_schedule("5x2", "tome", None) == Schedule.parse("5x2")
    with pytest.raises(
        InputError, match=r"--r 5x2 gives counts, .* use --r learned \(the thresholds in learned"
    ):
        read_schedule("5x2", "ltmp", file)
    with pytest.raises(InputError, match=r"use --r thresholds such as threshold:0\.9"):
        read_schedule("5x2", "ltmp", None)
    runs = read_runs("off,learned", "ltmp", unmerge=True, learned=file)
    assert [str(run.schedule) for run in runs] == ["off", text]


@pytest.mark.parametrize(
    ("method", "schedule", "text"),
    [
        ("tome", None, "but 'tome' learns nothing: use a schedule such as 5x20"),
        ("ltmp", None, "'ltmp' runs untrained here: train it with .*method=ltmp .*and pass --learned FILE"),
        ("dtem", "", "but 'dtem' learns something else: use a schedule such as 10x16 with learned"),
        ("ltmp", "threshold:0.9y", "is damaged: its schedule cannot be read"),
    ],
)
def test_r_learned_is_refused_where_nothing_was_learned(method, schedule, text, tmp_path):
    file = None if schedule is None else write_file(tmp_path / "learned.safetensors", schedule, method)
    with pytest.raises((InputError, CheckpointError), match=text):
        read_schedule("learned", method, file)


def test_a_long_schedule_has_a_name_that_fits_a_file():
    long = Schedule.parse("threshold:" + "+".join(f"0.{n + 10}/0.001x1" for n in range(40)))
    other = Schedule.parse("threshold:" + "+".join(f"0.{n + 11}/0.001x1" for n in range(40)))
    names = {Run(schedule, "ltmp", unmerge=True).label for schedule in (long, other)}
    assert all(len(name) < 60 and name.startswith("ltmp-threshold:40-layers-") for name in names)
    assert len(names) == 2
