"""Training with merging: gradients reach every weight, and drops are compared in pairs."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures_folder import make_folder, make_idx

from shared_tmu.classification.classifier import Classifier, program_of
from shared_tmu.classification.crops import Crop
from shared_tmu.classification.photo_vit import PhotoViT
from shared_tmu.classification.small_training import (
    SMALL,
    SmallClassifier,
    SmallRecipe,
    compare_drops,
    train_alike,
)
from shared_tmu.errors import InputError
from shared_tmu.programs.results import read_records

SCRIPTS = Path(__file__).parents[3] / "scripts"
MAIN = runpy.run_path(str(SCRIPTS / "train_with_merging.py"))["main"]
TIME = runpy.run_path(str(SCRIPTS / "time_training_step.py"))["main"]


@pytest.mark.parametrize("method", ["tome", "pitome", "dct"])
def test_gradients_reach_every_weight(method):
    torch.manual_seed(0)
    model, img = SmallClassifier(3).train(), torch.randn(2, 3, 28, 28)
    with model.merging("7x6", method):
        model(img).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_drops_are_compared_in_pairs():
    all_right, none = np.full(40, 100.0), np.zeros(40)
    half = np.where(np.arange(40) % 2 == 0, 100.0, 0.0)
    told = compare_drops((all_right, none), (half, half))
    assert (told["drop"], told["gap"], told["own_drop"], told["regained"]) == (100, 50, 0, 50)
    assert told["drop_interval_95"] == [100, 100]
    assert told["regained_interval_95"][0] > 30


def test_both_copies_train_from_the_same_start_on_the_same_steps(monkeypatch):
    start, img, labels = SmallClassifier(3), torch.randn(12, 3, 28, 28), torch.arange(12) % 3
    before = copy.deepcopy(start.state_dict())
    seen = {}
    monkeypatch.setattr(
        SmallClassifier,
        "forward",
        lambda self, x: seen.setdefault(id(self), []).append(x) or self.head(self.vit(x).mean(dim=1)),
    )
    plain, merging = train_alike(start, img, labels, "7x6", "tome", SmallRecipe(epochs=2, batch_size=4))
    assert all(torch.equal(value, start.state_dict()[name]) for name, value in before.items())
    first, second = seen[id(plain)], seen[id(merging)]
    assert len(first) == len(second) == 6
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(plain.head.weight, merging.head.weight)
    twin, _ = train_alike(start, img, labels, "off", "tome", SmallRecipe(epochs=2, batch_size=4))
    assert torch.equal(plain.head.weight, twin.head.weight)


def test_models_of_one_seed_are_equal():
    assert torch.equal(SmallClassifier(3).head.weight, SmallClassifier(3).head.weight)
    assert not torch.equal(SmallClassifier(3).head.weight, SmallClassifier(3, seed=1).head.weight)


def test_the_program_trains_and_compares(tmp_path, capsys):
    folder = make_idx(tmp_path / "mnist", count=30)
    how = ["--data", str(folder), "--batch_size", "10", "--out", str(tmp_path / "lines.jsonl")]
    assert MAIN([*how, "--epochs", "1", "--more_epochs", "1"]) == 0
    assert MAIN([*how, "--epochs", "0", "--more_epochs", "2"]) == 0
    fine, scratch = read_records(tmp_path / "lines.jsonl")
    assert (fine["epochs"], scratch["epochs"]) == (1, 0)
    assert fine["n_train"] == fine["n_test"] == 30
    assert (fine["tokens"], fine["tokens_kept"]) == (50, 8)
    assert set(fine["top1_pct"]) == {"plain_off", "plain_merged", "trained_off", "trained_merged"}
    assert "regained by training" in capsys.readouterr().out
    with pytest.raises(InputError, match="always done"):
        MAIN([*how, "--r", "off"])
    with pytest.raises(InputError, match="28 x 28"):
        MAIN(["--data", str(make_folder(tmp_path / "pets", split="train")), *how[2:]])


def test_steps_of_any_classifier_are_timed_in_turn(tmp_path, capsys, monkeypatch):
    small = Classifier(PhotoViT(SMALL), torch.nn.Linear(128, 4), Crop((28, 28)), 4).eval()
    program = program_of("vit_s_focus@28", lambda: small, Path("small"))
    monkeypatch.setitem(TIME.__globals__, "timed_classifier", lambda name: program)
    how = ["--model", "vit_s_focus@28", "--batch", "2", "--rounds", "2", "--out", str(tmp_path / "t.jsonl")]
    assert TIME([*how, "--r", "4x6,7x6", "--method", "tome,pitome"]) == 0
    records = read_records(tmp_path / "t.jsonl")
    assert [(r["method"], r["schedule"]) for r in records] == [
        ("tome", "4x6"), ("tome", "7x6"), ("pitome", "4x6"), ("pitome", "7x6")
    ]  # fmt: skip
    assert all(record["speedup"] > 0 and record["rounds"] == 2 for record in records)
    assert "x as fast" in capsys.readouterr().out
    assert all(parameter.grad is not None for parameter in small.vit.blocks.parameters())
    with pytest.raises(InputError, match="always timed"):
        TIME([*how, "--r", "off"])
    with pytest.raises(InputError, match="timm:NAME"):
        TIME([*how, "--model", "hamer"])
