"""A stage goes on, and its result is used, only with the settings and weights with which it was begun."""

from dataclasses import replace

import pytest
import toy_training
from toy_training import STAGES, TASK, Model, setting, train

from shared_tmu.errors import CheckpointError, ConfigError
from shared_tmu.training.begun import batch_size_of
from shared_tmu.training.ends import OWN
from shared_tmu.training.stages import load_newest

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of both stages."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("shared_tmu.synth.shards.SHARD", toy_training.SHARD)
        patches.setattr("shared_tmu.training.data.SHARD", toy_training.SHARD)
        train(folder)
    return folder


def with_first(**changes):
    return [replace(STAGES[0], **changes), *STAGES[1:]]


@pytest.mark.parametrize(
    ("stages", "shared", "told"),
    [
        (with_first(lr=0.5), {}, r"begun with lr=[0-9.]+, but lr=0\.5 was asked for"),
        (with_first(seed=77), {}, "but seed=77 was asked for"),
        (with_first(weights={"head": 0.5}), {}, "weights="),
        (STAGES, {"seed": 9}, "but order_seed=9 was asked for"),
        (STAGES, {"ema": 0.9}, "begun with ema=null, but ema=0.9"),
        ([replace(STAGES[0], name="new"), *STAGES], {}, "order_seed=0, but order_seed=1"),
    ],
)
def test_a_finished_stage_is_not_taken_for_another(finished, stages, shared, told):
    for ask in (
        lambda: train(finished, stages, **shared),
        lambda: load_newest(Model, 1, stages, setting(finished, **shared), TASK),
    ):
        with pytest.raises(ConfigError, match=told):
            ask()
    assert not (finished / "out" / "new").exists()


def test_what_does_not_change_the_result_may_change(finished):
    train(finished, val_every=3, save_every=7, workers=0, max_minutes=5)
    assert batch_size_of(finished / "out" / "first") == STAGES[0].batch_size


def test_a_stage_whose_start_was_trained_anew_is_refused(tmp_path):
    train(tmp_path)
    for path in (tmp_path / "out" / "first").iterdir():
        path.unlink()
    with pytest.raises(
        ConfigError, match=r"second was begun with weights of digest .* but weights of digest"
    ):
        train(tmp_path, with_first(lr=0.5))


def test_a_half_done_stage_keeps_its_rate(tmp_path, monkeypatch):
    real = toy_training.Training.training_step

    def cut(self, batch, index):
        if self.global_step == 12:
            raise RuntimeError("power cut")
        return real(self, batch, index)

    monkeypatch.setattr(toy_training.Training, "training_step", cut)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, save_every=5)
    monkeypatch.setattr(toy_training.Training, "training_step", real)
    with pytest.raises(ConfigError, match=r"but lr=0\.5 was asked for: use that value, choose another"):
        train(tmp_path, with_first(lr=0.5))
    train(tmp_path, STAGES[:1])


def test_what_cannot_be_read_is_said(tmp_path):
    train(tmp_path, STAGES[:1])
    (tmp_path / "out" / "first" / "stage.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"stage\.json is damaged"):
        train(tmp_path, STAGES[:1])


def test_weights_of_an_earlier_run_do_not_stay_beside_an_average(tmp_path):
    train(tmp_path, STAGES[:1], ema=0.8)
    first = tmp_path / "out" / "first"
    assert (first / OWN).exists()
    for path in first.glob("*.ckpt"):
        path.unlink()
    (first / "done.safetensors").unlink()
    train(tmp_path, STAGES[:1])
    assert not (first / OWN).exists()
