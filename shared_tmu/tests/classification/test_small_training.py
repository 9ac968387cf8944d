"""Training with merging: gradients reach every weight, and drops are compared in pairs."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures_folder import make_folder, make_idx

from shared_tmu.classification.small_training import SmallClassifier, compare_drops, time_steps
from shared_tmu.errors import InputError
from shared_tmu.programs.results import read_records

MAIN = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "train_with_merging.py"))["main"]


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
    told = compare_drops((all_right, none), (all_right, half))
    assert (told["drop"], told["gap"], told["regained"]) == (100, 50, 50)
    assert told["drop_interval_95"] == [100, 100]
    assert told["regained_interval_95"][0] > 30


def test_steps_are_timed_in_turn():
    model, img = SmallClassifier(3), torch.randn(4, 3, 28, 28)
    told = time_steps(model, img, torch.tensor([0, 1, 2, 0]), "7x6", "tome", rounds=2)
    assert told["step_speedup"] > 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_program_trains_and_compares(tmp_path, capsys):
    folder = make_idx(tmp_path / "mnist", count=30)
    how = ["--data", str(folder), "--batch_size", "10", "--out", str(tmp_path / "lines.jsonl")]
    assert MAIN([*how, "--epochs", "2"]) == 0
    (record,) = read_records(tmp_path / "lines.jsonl")
    assert record["n_train"] == record["n_test"] == 30
    assert set(record["top1_pct"]) == {"plain_off", "plain_merged", "trained_off", "trained_merged"}
    assert "regained by training" in capsys.readouterr().out
    with pytest.raises(InputError, match="always done"):
        MAIN([*how, "--r", "off"])
    with pytest.raises(InputError, match="28 x 28"):
        MAIN(["--data", str(make_folder(tmp_path / "pets", split="train")), *how[2:]])
