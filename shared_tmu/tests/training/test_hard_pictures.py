"""Harder pictures come more often, none starves, and stops and reading ahead change nothing."""

import numpy as np
import pytest
import torch
import toy_training
from toy_training import STAGES, train

from shared_tmu.errors import ConfigError
from shared_tmu.training import data_module, hard_pictures
from shared_tmu.training.data_module import Order, OrderLoader
from shared_tmu.training.hard_pictures import LAG, LastLosses, turns
from shared_tmu.training.settings import Stage

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.fixture
def short_lag(monkeypatch):
    for module in (hard_pictures, data_module):
        monkeypatch.setattr(module, "LAG", 4)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_turns_follow_the_losses_above_a_floor(share):
    losses = np.random.default_rng(3).exponential(size=997).astype(np.float32)
    losses[::10] = np.nan
    losses[0] = 1e9  # one that cannot be learned
    rounds = np.array([turns(losses, share, rng(seed)) for seed in range(200)])
    assert (rounds.sum(axis=1) == len(losses)).all()
    mean = rounds.mean(axis=0)
    wanted = np.clip(np.nan_to_num(losses, nan=1.0), 0, 4)
    np.testing.assert_allclose(mean, 1 - share + share * wanted / wanted.mean(), atol=0.12)
    assert rounds.max() <= np.ceil(mean.max() + 0.5)
    if share == 0:
        assert (rounds == 1).all()


@pytest.mark.parametrize("losses", [np.full(7, np.nan), np.zeros(7), np.ones(7)])
def test_equal_losses_give_each_picture_one_turn(losses):
    assert (turns(losses.astype(np.float32), 0.7, rng()) == 1).all()


def test_a_loss_counts_only_after_the_lag():
    losses = LastLosses(4)
    losses.note(0, torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    for step in range(1, LAG):
        losses.note(step, torch.tensor([3]), torch.tensor([0.0]))  # without a mean nothing is learned of it
        assert np.isnan(losses.known(LAG - 1)).all()
    np.testing.assert_array_equal(losses.known(LAG), np.array([0.5, 1.5, np.nan, np.nan], np.float32))
    again = LastLosses(4)
    again.load_state_dict(losses.state_dict())
    np.testing.assert_array_equal(again.known(LAG), losses.known(LAG))
    with pytest.raises(ConfigError, match=r"hard_share .*setting\.workers"):
        losses.known(2 * LAG)


def test_harder_pictures_come_more_often_and_new_ones_join(short_lag):
    there = [12]
    order = Order(1, 60, 4, [20], lambda: there, hard_share=0.8)
    seen: list[list[int]] = []
    for step, tickets in enumerate(order):
        numbers = [number for number, _ in tickets]
        seen.append(numbers)
        hard = torch.tensor([4.0 if number in (2, 5) else 1.0 for number in numbers])
        order.losses.note(step, torch.tensor(numbers), hard)
        there[0] = 20 if step > 20 else 12
    counts = np.bincount(np.concatenate(seen[30:]), minlength=20)
    assert counts.min() > 0
    easy = np.delete(counts, [2, 5])
    assert counts[[2, 5]].min() > easy.max()


@pytest.mark.parametrize("step", [7, 15, 19])
def test_cut_off_it_goes_on_with_the_same_pictures(tmp_path, monkeypatch, short_lag, step):
    stages = [Stage("first", 1, images=80, seed=1, count=8, batch_size=4, warmup=2, lr=0.05, hard_share=0.8)]
    seen: list[list[int]] = []
    real = toy_training.Training.training_step
    cut = [False]

    def stepped(self, batch, index):
        if cut[0] and self.global_step == step:
            raise RuntimeError("power cut")
        seen.append([self.global_step, *batch["number"].tolist()])
        return real(self, batch, index)

    monkeypatch.setattr(toy_training.Training, "training_step", stepped)
    want = train(tmp_path / "whole", stages).state_dict()
    whole = {one[0]: one for one in seen}
    seen.clear()
    cut[0] = True
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, stages)
    cut[0] = False
    got = train(tmp_path, stages).state_dict()
    assert {one[0]: one for one in seen} == whole
    assert all(torch.equal(got[name], value) for name, value in want.items())
    plain = train(tmp_path / "plain", STAGES[:1]).state_dict()
    assert not all(torch.equal(plain[name], value) for name, value in want.items())


def test_reading_ahead_in_another_process_changes_nothing(tmp_path, monkeypatch):
    for module in (hard_pictures, data_module):
        monkeypatch.setattr(module, "LAG", 10)  # one process reads at most 6 batches ahead
    stages = [Stage("first", 1, images=120, seed=1, count=8, batch_size=4, warmup=2, lr=0.05, hard_share=0.8)]
    models = [train(tmp_path / str(workers), stages, workers=workers).state_dict() for workers in (0, 1)]
    assert all(torch.equal(models[1][name], value) for name, value in models[0].items())


def test_without_it_a_checkpoint_has_no_losses():
    loader = OrderLoader(None, Order(1, 9, 4, [20], lambda: [20]))
    assert loader.state_dict().keys() == {"rounds"}
