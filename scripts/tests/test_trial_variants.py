"""Variants of one's own in try_training.py, and trials whose files are damaged or do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import try_training
from training_parts.trial_errors import ERROR, errors_folder
from training_parts.trial_table import mean_over, trial_lines
from training_parts.trials import frozen_sets, list_trials, own_variants

from shared_tmu.errors import InputError
from shared_tmu.evaluation.per_sample import PerSample, write_per_sample


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([["stages.half.lr=0.002"]], "begin with a name"),
        ([["../out", "stages.half.lr=0.002"]], "begin with a name"),
        ([["lr"]], "after the name comes what it sets"),
        ([["lr", "stages.half.lr"]], "after the name comes what it sets"),
        ([["present", "stages.half.lr=0.5"]], "there is a variant 'present' already"),
        ([["lr", "stages.half.lr=0.5"], ["lr", "stages.half.lr=0.6"]], "there is a variant 'lr' already"),
        ([["seed", "setting.seed=3"]], "setting.seed is the same for all trials"),
        ([["more", "++stages.half.images=3"]], "stages.half.images is the same for all trials"),
        ([["alone", "setting.ema=null"]], "or their average would be gone"),
    ],
)  # fmt: skip
def test_variants_that_would_not_be_trials_are_refused(given, told, tmp_path):
    with pytest.raises(InputError, match=told):
        own_variants(given)
    words = [word for one in given for word in ("--set", *one)]
    with pytest.raises(InputError, match=told):
        try_training.main(["--state", str(tmp_path), "--table", *words])


def test_variants_are_read():
    given = [["lr2e-3", "stages.half.lr=0.002", "setting.ema=0.99"], ["b", "a={x: 1}"]]
    assert own_variants(given) == {"lr2e-3": ("stages.half.lr=0.002", "setting.ema=0.99"), "b": ("a={x: 1}",)}


def measured(state: Path, variant: str, seed: int, mm: float, names: tuple[str, ...] = ("a", "b")) -> None:
    (trial,) = list_trials({variant: []}, [variant], [seed], 60_000)
    trial.begin(state)
    values = mm + np.arange(len(names))
    for which in ("held-out", "seen"):
        folder = errors_folder(trial.folder(state), "own", which)
        folder.mkdir(parents=True)
        write_per_sample(folder, PerSample(names, names, {ERROR: values, "wrist_mpvpe_mm": values}, {}))


def test_there_is_no_difference_while_the_other_lacks_a_seed(tmp_path):
    for variant, seed, mm in (("present", 1, 15.0), ("better", 1, 14.0), ("better", 2, 20.0)):
        measured(tmp_path, variant, seed, mm)
    trials = list_trials({"present": [], "better": []}, ["present", "better"], [1, 2], 60_000)
    lines = {line["variant"]: line for line in trial_lines(trials, tmp_path, ["own"])}
    assert lines["better"]["seeds"] == [1, 2]
    assert "minus" not in lines["better"]
    measured(tmp_path, "present", 2, 19.0)
    lines = {line["variant"]: line for line in trial_lines(trials, tmp_path, ["own"])}
    assert lines["better"]["minus"][ERROR] == pytest.approx(0.0)
    assert lines["better"]["minus_of_each_seed"] == pytest.approx([-1.0, 1.0])


def test_runs_that_started_from_other_weights_are_neither_continued_nor_averaged(tmp_path):
    weights, state = tmp_path / "a.safetensors", tmp_path / "state"
    variants = {"on": ["start_from=a.safetensors"]}
    trials = list_trials(variants, ["on"], [1, 2], 60_000)
    for trial, content in zip(trials, ("first", "shipped since"), strict=True):
        weights.write_text(content)
        trial.begin(state)
        trial.keep_starts(state, tmp_path)
        trial.keep_starts(state, tmp_path)
    with pytest.raises(InputError, match=r"on-1 was begun from other weights than .*a\.safetensors"):
        trials[0].keep_starts(state, tmp_path)
    for trial in trials:
        folder = errors_folder(trial.folder(state), "own", "held-out")
        folder.mkdir(parents=True)
        values = {ERROR: np.ones(1), "wrist_mpvpe_mm": np.ones(1)}
        write_per_sample(folder, PerSample(("a",), ("a",), values, {}))
    with pytest.raises(InputError, match="'on' started from different weights: show their --seeds"):
        trial_lines(trials, state, ["own"])
    (line,) = trial_lines(trials[:1], state, ["own"])
    assert line["seeds"] == [1]
    (plain,) = list_trials({"lr": []}, ["lr"], [1], 60_000)
    plain.begin(state)
    plain.keep_starts(state, tmp_path)
    assert plain.starts(state) == {}


def test_runs_of_other_pictures_are_not_averaged(tmp_path):
    runs = [PerSample(n, n, {ERROR: np.ones(len(n))}, {}) for n in (("a", "b"), ("a", "b", "c"))]
    for some in (runs, runs[::-1]):
        with pytest.raises(InputError, match="measured on other pictures"):
            mean_over(some)


@pytest.mark.parametrize("content", ["", "[", "[]", "{}", "[{}]", "[3]", '[{"seed": 1}]', "null"])
def test_damaged_scenes_are_refused_by_name(content, tmp_path):
    (tmp_path / "scenes.json").write_text(content)
    with pytest.raises(InputError, match=r"scenes\.json .*use another --state"):
        frozen_sets(tmp_path, [])


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "3", json.dumps({"variant": "lr"})])
def test_a_damaged_trial_is_refused_by_name(content, tmp_path):
    (trial,) = list_trials({"lr": []}, ["lr"], [1], 60_000)
    trial.begin(tmp_path)
    (trial.folder(tmp_path) / "trial.json").write_text(content)
    with pytest.raises(InputError, match=r"trial\.json is damaged|was begun with"):
        trial.require_same(tmp_path)
