"""A toy set, a toy program that is evaluated on it, and short clips."""

import pytest
from clip_sizes import CLIPS, FRAMES
from freihand_folder import write_freihand
from toy_hand_model import ToyHand, toy_program

from shared_tmu.evaluation import main
from shared_tmu.programs.results import read_records


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_freihand(folder / "freihand", count=7, size_px=56)
    return folder


@pytest.fixture
def run(tmp_path, data_dir):
    """Run a command line on a toy program; returns (status, records, model)."""

    def call(*flags, model=None, data_dir=data_dir):
        model = model or ToyHand()
        program = toy_program(tmp_path / "toy", model)
        common = [
            "--dataset",
            "freihand",
            "--data_dir",
            str(data_dir),
            "--batch_size",
            "3",
            "--device",
            "cpu",
        ]
        status = main(program, [*common, "--rounds", "2", *flags])
        return status, read_records(tmp_path / "toy" / "results" / "toy-freihand.jsonl"), model

    return call


@pytest.fixture
def results(tmp_path):
    return tmp_path / "toy" / "results"


@pytest.fixture(scope="module")
def clip_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def short_clips(monkeypatch, clip_cache):
    """SynthHand-Clips with few frames, drawn once for a file of tests."""
    monkeypatch.setenv("SHARED_TMU_CACHE", str(clip_cache))
    monkeypatch.setattr("shared_tmu.synth.clip_set.CLIPS", CLIPS)
    monkeypatch.setattr("shared_tmu.synth.clip_set.FRAMES", FRAMES)
    monkeypatch.setattr("shared_tmu.synth.clip_set.write_clip_set.__defaults__", (CLIPS, FRAMES, 1_000_211))
