"""The moving average of the weights: what is exported, what resumes, and what does not fit is refused."""

import pytest
import torch
import toy_training
from safetensors.torch import load_file
from toy_training import STAGES, TASK, Model, setting, train

from shared_tmu.errors import CheckpointError, ConfigError
from shared_tmu.training.checkpointing import LAST
from shared_tmu.training.curve import read_curve
from shared_tmu.training.ends import DONE, OWN
from shared_tmu.training.stages import load_newest

DECAY = 0.8


pytestmark = pytest.mark.usefixtures("small_shards")


def cut_after(monkeypatch, step):
    """Let a training run end without warning in the middle of a step."""
    real = toy_training.Training.training_step

    def stepped(self, batch, index):
        if self.global_step == step:
            raise RuntimeError("power cut")
        return real(self, batch, index)

    monkeypatch.setattr(toy_training.Training, "training_step", stepped)
    return lambda: monkeypatch.setattr(toy_training.Training, "training_step", real)


def test_the_exported_weights_are_the_average_of_those_after_each_step(tmp_path, monkeypatch):
    seen: list[dict[str, torch.Tensor]] = []
    real = toy_training.Training.training_step

    def stepped(self, batch, index):
        seen.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return real(self, batch, index)

    monkeypatch.setattr(toy_training.Training, "training_step", stepped)
    plain = train(tmp_path / "plain", STAGES[:1]).state_dict()
    steps = [*seen[1:], plain]  # what a step begins with is what the one before it has left
    average = steps[0]
    for weights in steps[1:]:
        average = {name: DECAY * value + (1 - DECAY) * weights[name] for name, value in average.items()}
    found = train(tmp_path / "average", STAGES[:1], ema=DECAY).state_dict()
    assert found.keys() == average.keys()
    for name, value in average.items():
        torch.testing.assert_close(found[name], value)
        assert not torch.equal(found[name], plain[name])


def test_the_average_is_what_is_validated(tmp_path):
    rows = [
        [row["val/pa_mpvpe_mm"] for row in read_curve(tmp_path / name / "out" / "curve.csv")]
        for name, decay in (("plain", None), ("average", DECAY))
        if train(tmp_path / name, STAGES[:1], ema=decay)
    ]
    assert len(rows[0]) == len(rows[1])
    assert rows[0] != rows[1]


def test_an_average_does_not_change_what_is_trained(tmp_path):
    plain = train(tmp_path / "plain").state_dict()
    train(tmp_path / "average", ema=DECAY)
    for stage in STAGES:
        plain_end = load_file(tmp_path / "plain" / "out" / stage.name / DONE)
        folder = tmp_path / "average" / "out" / stage.name
        own, average = load_file(folder / OWN), load_file(folder / DONE)
        assert own.keys() == average.keys() == plain_end.keys()
        assert all(torch.equal(own[name], value) for name, value in plain_end.items())
        assert not all(torch.equal(average[name], value) for name, value in plain_end.items())
    assert all(torch.equal(own[f"model.{name}"], value) for name, value in plain.items())
    assert not (tmp_path / "plain" / "out" / "first" / OWN).exists()


def test_cut_off_in_its_last_validation_it_still_exports_the_average(tmp_path, monkeypatch):
    want = train(tmp_path / "whole", STAGES[:1], ema=DECAY).state_dict()
    real = toy_training.Training.validation_step

    def stepped(self, batch, index):
        if self.global_step == STAGES[0].steps:
            raise RuntimeError("power cut")
        return real(self, batch, index)

    monkeypatch.setattr(toy_training.Training, "validation_step", stepped)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, STAGES[:1], ema=DECAY)
    monkeypatch.setattr(toy_training.Training, "validation_step", real)
    got = train(tmp_path, STAGES[:1], ema=DECAY).state_dict()
    assert all(torch.equal(got[name], value) for name, value in want.items())
    rows = [read_curve(folder / "out" / "curve.csv")[-1] for folder in (tmp_path, tmp_path / "whole")]
    assert rows[0]["val/pa_mpvpe_mm"] == rows[1]["val/pa_mpvpe_mm"]


@pytest.mark.parametrize("step", [3, 11])
def test_cut_off_it_goes_on_to_the_same_average(tmp_path, monkeypatch, step):
    want = train(tmp_path / "whole", ema=DECAY).state_dict()
    mend = cut_after(monkeypatch, step)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, ema=DECAY)
    mend()
    got = train(tmp_path, ema=DECAY).state_dict()
    assert all(torch.equal(got[name], value) for name, value in want.items())


def test_the_newest_checkpoint_is_exported_averaged(tmp_path, monkeypatch):
    cut_after(monkeypatch, 11)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, STAGES[:1], ema=DECAY)
    kept = torch.load(tmp_path / "out" / "first" / LAST, weights_only=True)
    model, _ = load_newest(Model, 1, STAGES[:1], setting(tmp_path, ema=DECAY), TASK)
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept["state_dict"][f"model.{name}"])
        assert not torch.equal(value, kept["current_model_state"][f"model.{name}"])


@pytest.mark.parametrize(("first", "then"), [(DECAY, None), (None, DECAY)])
def test_a_stage_that_began_otherwise_is_refused(tmp_path, monkeypatch, first, then):
    mend = cut_after(monkeypatch, 11)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, STAGES[:1], ema=first)
    mend()
    with pytest.raises(ConfigError, match=r"begun with ema=.* but ema=.* was asked for"):
        train(tmp_path, STAGES[:1], ema=then)
    (tmp_path / "out" / "first" / "stage.json").rename(tmp_path / "kept")
    with pytest.raises(CheckpointError, match=r"average of the weights"):  # of a version that kept none
        train(tmp_path, STAGES[:1], ema=then)
    (tmp_path / "kept").rename(tmp_path / "out" / "first" / "stage.json")
    train(tmp_path, STAGES[:1], ema=first)


@pytest.mark.parametrize("decay", [0.0, 1.0, float("nan")])
def test_a_decay_that_averages_nothing_is_refused(tmp_path, decay):
    with pytest.raises(ConfigError, match="ema"):
        setting(tmp_path, ema=decay)
