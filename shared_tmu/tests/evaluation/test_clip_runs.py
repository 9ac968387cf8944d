"""Evaluation of clips: errors of motion, and plans that frames hold."""

import numpy as np
import pytest
import torch
from toy_hand_model import ToyHand, toy_program

from shared_tmu.datasets import open_dataset
from shared_tmu.evaluation import main
from shared_tmu.evaluation.clip_plans import ClipPlans
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.programs.results import read_records

CLIPS, FRAMES = 2, 5


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _small(monkeypatch, cache):
    monkeypatch.setenv("SHARED_TMU_CACHE", str(cache))
    monkeypatch.setattr("shared_tmu.synth.clip_set.CLIPS", CLIPS)
    monkeypatch.setattr("shared_tmu.synth.clip_set.FRAMES", FRAMES)
    monkeypatch.setattr("shared_tmu.synth.clip_set.write_clip_set.__defaults__", (CLIPS, FRAMES, 1_000_211))


@pytest.fixture
def run(tmp_path):
    def call(*flags, dataset="synthhand-clips", folder="toy"):
        program = toy_program(tmp_path / folder, ToyHand())
        common = ["--dataset", dataset, "--device", "cpu", "--rounds", "0"]
        status = main(program, [*common, *flags])
        return status, read_records(tmp_path / folder / "results" / f"toy-{dataset}.jsonl")

    return call


def errors(tmp_path, record, folder="toy"):
    return read_per_sample(tmp_path / folder / "results" / record["files"]).errors


def test_the_set_is_made_on_first_use_and_cut_by_frames():
    data = open_dataset("synthhand-clips", None)
    assert (len(data), data.clip_bounds) == (10, [(0, 5), (5, 10)])
    assert data.head(7).clip_bounds == [(0, 5), (5, 7)]
    assert data.load(6)["clip"] == 1
    assert data.is_complete
    assert len(set(data.sample_ids)) == 10


def test_one_line_per_schedule_and_kind_of_plans(run, tmp_path):
    status, records = run("--r", "off,20x2", "--plans", "free,held", "--batch_size", "3")
    assert status == 0
    assert [r["label"] for r in records] == ["off", "20x2", "20x2-held"]
    assert [r["hold"] for r in records] == [False, False, True]
    for record in records:
        assert {"mpjpe_mm", "pa_mpjpe_mm", "accel_error_mm", "jitter_mm", "true_jitter_mm"} <= set(record)
        assert record["clips"] == CLIPS
    rows = errors(tmp_path, records[1])
    assert np.isnan(rows["accel_error_mm"]).tolist() == [True, False, False, False, True] * 2
    assert records[1]["minus_off_interval_95"]["accel_error_mm"] is not None


def test_the_first_frame_of_a_clip_decides_itself(run, tmp_path):
    _, (free, held) = run("--r", "20x2", "--plans", "free,held")
    both = [errors(tmp_path, record)["mpjpe_mm"] for record in (free, held)]
    np.testing.assert_allclose(both[0][[0, 5]], both[1][[0, 5]], atol=1e-6)


def test_held_plans_do_not_depend_on_the_batches(run, tmp_path):
    values = []
    for size in ("1", "4", "16"):
        _, (record,) = run("--r", "20x2", "--plans", "held", "--batch_size", size, folder=size)
        values.append(errors(tmp_path, record, size)["mpjpe_mm"])
    np.testing.assert_allclose(values[0], values[1], atol=1e-3)
    np.testing.assert_allclose(values[0], values[2], atol=1e-3)


def test_plans_are_made_anew_for_another_clip_or_picture():
    plans = ClipPlans()
    picture = torch.randn(1, 3, 32, 24, generator=torch.Generator().manual_seed(0)).repeat(5, 1, 1, 1)
    picture[3] = -picture[3]
    names = plans.of(picture, torch.tensor([0, 0, 1, 1, 1])).names
    assert names[0] == names[1] != names[2]
    assert len({names[2], names[3], names[4]}) == 3
    assert plans.of(picture[4:], torch.tensor([1])).names == [names[4]]


def test_single_pictures_have_no_plans_to_hold(run, caplog, monkeypatch):
    monkeypatch.setattr("shared_tmu.datasets.synthhand.OFFICIAL_COUNT", 2)
    status, _ = run("--r", "20x2", "--plans", "held", dataset="synthhand")
    assert status == 1
    assert "--plans held was asked for, but synthhand has single pictures" in caplog.text


def test_unknown_kinds_of_plans_are_named(run, caplog):
    assert run("--plans", "kept")[0] == 1
    assert "--plans 'kept' does not exist: use free, held or both" in caplog.text
