"""A stage goes on, and its result is used, only with the settings and weights with which it was begun."""

import json
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
import toy_training
from toy_training import STAGES, TASK, Model, setting, train

from shared_tmu.errors import CheckpointError, ConfigError
from shared_tmu.models.config import ModelConfig
from shared_tmu.training import begun
from shared_tmu.training.begun import batch_size_of
from shared_tmu.training.ends import OWN
from shared_tmu.training.parents import start_model
from shared_tmu.training.record import write_record
from shared_tmu.training.stages import load_newest, run_stages

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


@dataclass(frozen=True)
class Config(ModelConfig):
    """Of a toy; no weight depends on it."""

    MODEL: ClassVar[str] = "Toy"
    vit: dict[str, Any] = field(default_factory=dict)


def sized(**sizes):
    """Builds models whose configuration has these sizes."""

    def build(depth):
        model = Model(depth)
        model.config = Config(vit={"depth": depth, "num_heads": 4, "use_checkpoint": False, **sizes})
        return model

    return build


def test_sizes_that_no_weight_shows_are_among_what_a_stage_was_begun_with(tmp_path):
    def go(**sizes):
        torch.manual_seed(0)
        return run_stages(sized(**sizes), 1, STAGES, setting(tmp_path), task=TASK)

    go()
    go(use_checkpoint=True)  # the same result with less memory
    other = r"begun with model\.vit\.num_heads=4, but model\.vit\.num_heads=2 was asked for"
    with pytest.raises(ConfigError, match=other):
        go(num_heads=2)
    with pytest.raises(ConfigError, match=other):
        load_newest(sized(num_heads=2), 1, STAGES, setting(tmp_path), TASK)
    for stage in STAGES:  # as older versions wrote it
        path = tmp_path / "out" / stage.name / "stage.json"
        facts = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in facts.items() if not k.startswith("model.")}))
    go(num_heads=2)


def test_a_record_says_how_a_stage_was_trained_not_what_was_asked_last(tmp_path, monkeypatch):
    real = toy_training.Training.training_step

    def cut(self, batch, index):
        if self.global_step == 12:
            raise RuntimeError("power cut")
        return real(self, batch, index)

    def told(**changes):
        write_record(tmp_path, "new", "train", STAGES[:1], setting(tmp_path, **changes))
        return json.loads((tmp_path / "new.training.json").read_text())

    monkeypatch.setattr(toy_training.Training, "training_step", cut)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(begun, "describe_run", lambda setting: {"machine": "another"})
        with pytest.raises(RuntimeError, match="power cut"):
            train(tmp_path, STAGES[:1])
    monkeypatch.setattr(toy_training.Training, "training_step", real)
    other = {"precision": "bf16-mixed", "val_seed": 5, "val_count": 4}
    for name, value in other.items():
        with pytest.raises(ConfigError, match=f"begun with {name}=.* but {name}=.* was asked for"):
            train(tmp_path, STAGES[:1], **{name: value})
    train(tmp_path, STAGES[:1])
    train(tmp_path, STAGES[:1], **other)  # it is finished: nothing is trained
    record = told(**other)
    assert record["setting"]["precision"] == "32-true"
    assert (record["validation"]["seed"], record["validation"]["count"]) == (900_000, 8)
    assert record["machine"]["threads"] == 1
    assert record["earlier_runs"] == [{"machine": "another"}]


def test_a_start_of_other_sizes_is_refused(tmp_path):
    def start(**sizes):
        return start_model(TASK, lambda: sized()(1), lambda path: sized(**sizes)(2), tmp_path, None)

    assert len(start(dropout=0.1).vit.blocks) == 1
    with pytest.raises(CheckpointError, match=r"with model\.vit\.num_heads=2, but .*=4 was asked for"):
        start(num_heads=2)


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
