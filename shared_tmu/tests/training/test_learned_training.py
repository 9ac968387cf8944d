"""Training of what methods learn: losses, gradients, frozen weights, resuming, and the file that is left."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy_learned
import toy_training
from safetensors.torch import load_file
from toy_learned import (
    METHODS_THAT_LEARN,
    Program,
    TokenObjective,
    TokenSet,
    batch_of,
    build,
    numbers,
    recipe,
)

from shared_tmu import METHODS, Schedule
from shared_tmu.errors import CheckpointError, ConfigError
from shared_tmu.flops import TrunkShape
from shared_tmu.method_parts.learned import LearnedFacts
from shared_tmu.method_parts.relaxed import flops_share
from shared_tmu.methods import count_costs, count_tokens
from shared_tmu.synth import shards
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training import data
from shared_tmu.training.learned import module, run
from shared_tmu.training.learned.module import LearnedOptions, LearnedTraining
from shared_tmu.training.stopping import Stop

LEARNS = pytest.mark.parametrize("method", METHODS_THAT_LEARN)
SHAPE = TrunkShape(toy_learned.DEPTH, toy_learned.WIDTH, 26, 2, mlp_ratio=2.0)
TASK = SimpleNamespace(pictures=TokenSet)
LR = {"fpet": 1e-2, "diffrate": 0.2, "ltmp": 2e-2}
"""At this size a dozen steps must move what is learned past a whole token, or FPET's bits."""


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(module, "objective_of", lambda model, estimates: TokenObjective(model, estimates))
    monkeypatch.setattr(shards, "SHARD", toy_training.SHARD)
    monkeypatch.setattr(data, "SHARD", toy_training.SHARD)


def training_of(method: str, **options) -> LearnedTraining:
    vit = build()
    return LearnedTraining(
        Program(vit),
        vit,
        method,
        Schedule.parse("4x3"),
        LearnedOptions(**{"steps": 30, "warmup": 1, **options}),
    )


def test_every_method_that_learns_is_tested():
    assert {name for name, row in METHODS.items() if row.learn} == set(METHODS_THAT_LEARN)


@LEARNS
@pytest.mark.parametrize("objective", ["truth", "unmerged"])
def test_its_loss_has_a_gradient_and_falls(method, objective):
    training, batch = training_of(method, objective=objective, lr=LR.get(method)), batch_of()
    optimizer, totals = training.configure_optimizers()["optimizer"], []
    for step in range(12):
        total = torch.stack(list(training.losses(batch).values())).sum()
        optimizer.zero_grad()
        total.backward()
        if step == 1:  # FPET's second matrix is 0 at first, so the first one has none yet
            for name, parameter in training.named_parameters():
                if parameter.requires_grad:
                    assert parameter.grad is not None, name
                    assert parameter.grad.abs().sum() > 0, name
        optimizer.step()
        totals.append(float(total.detach()))
    assert min(totals[2:]) < totals[0]


@LEARNS
def test_blocks_that_remove_nothing_learn_nothing(method):
    vit = build()
    training = LearnedTraining(Program(vit), vit, method, Schedule.parse("4x1"), LearnedOptions(5))
    torch.stack(list(training.losses(batch_of()).values())).sum().backward()
    learning = {name: p.grad is not None for name, p in training.named_parameters() if p.requires_grad}
    assert learning, "something learns"
    assert all(learning.values()), "training on several devices waits for a gradient"


@LEARNS
def test_the_model_stays_as_it_is(method):
    vit = build()
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    training = LearnedTraining(Program(vit), vit, method, Schedule.parse("4x3"), LearnedOptions(5))
    torch.stack(list(training.losses(batch_of()).values())).sum().backward()
    torch.optim.Adam(training.parameters()).step()
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())
    assert all(parameter.grad is None for parameter in vit.parameters())
    assert all(name.startswith("learned.") for name in training.state_dict())
    assert {id(p) for p in training.parameters()} == {id(p) for p in training.learned.parameters()}


def test_counted_flops_are_those_of_the_schedule():
    counts = count_tokens("diffrate", Schedule.parse("4x3"), SHAPE.depth, SHAPE.num_tokens, 2)
    shares = [(torch.tensor(before / 26), torch.tensor(after / 26)) for before, after in pairwise(counts)]
    wanted = [sum(c.flops for c in count_costs("diffrate", Schedule.parse(r), SHAPE)) for r in ("4x3", "off")]
    assert float(flops_share(shares, SHAPE)) == pytest.approx(wanted[0] / wanted[1], rel=1e-6)


@pytest.mark.parametrize("method", ["diffrate", "ltmp"])
def test_the_loss_on_flops_moves_them_towards_the_budget(method):
    training, batch = training_of(method, flops_weight=1e4, lr=LR[method]), batch_of()
    if method == "diffrate":
        training.target *= 0.9
    optimizer, distances = training.configure_optimizers()["optimizer"], []
    for _ in range(15):
        losses = training.losses(batch)
        optimizer.zero_grad()
        losses["flops"].backward()
        optimizer.step()
        distances.append(float(losses["flops"].detach()))
    assert min(distances[8:]) < distances[0]


@LEARNS
def test_a_killed_run_goes_on_to_the_same_numbers(method, tmp_path, monkeypatch):
    vit = build()
    whole, error_mm = run.fit(Program(vit), vit, recipe(tmp_path / "a", method), TASK, Stop())
    real, seen = LearnedTraining.training_step, []

    def step(self, batch, index):
        seen.append(self.global_step)
        if len(seen) == 4:
            raise RuntimeError("power cut")
        return real(self, batch, index)

    monkeypatch.setattr(LearnedTraining, "training_step", step)
    with pytest.raises(RuntimeError, match="power cut"):
        run.fit(Program(vit), vit, recipe(tmp_path / "b", method), TASK, Stop())
    again, again_mm = run.fit(Program(vit), vit, recipe(tmp_path / "b", method), TASK, Stop())
    assert seen == [0, 1, 2, 3, 2, 3, 4, 5]
    assert again_mm == error_mm
    want = numbers(whole.learned)
    assert numbers(again.learned).keys() == want.keys()
    for name, value in numbers(again.learned).items():
        np.testing.assert_array_equal(value, want[name], err_msg=name)


def test_a_run_with_other_settings_or_weights_does_not_go_on(tmp_path):
    vit = build()
    run.fit(Program(vit), vit, recipe(tmp_path, "crossget"), TASK, Stop())
    with pytest.raises(CheckpointError, match=r"holds a run with lr=0\.01, but 0\.5 was asked for"):
        run.fit(Program(vit), vit, recipe(tmp_path, "crossget", lr=0.5), TASK, Stop())
    for name, value in (("difficulty", Difficulty(variety=1.0)), ("precision", "bf16-mixed")):
        with pytest.raises(CheckpointError, match=f"holds a run with {name}="):
            run.fit(Program(vit), vit, recipe(tmp_path, "crossget", **{name: value}), TASK, Stop())
    head = build()
    head.register_buffer("body_model", torch.ones(3))
    with pytest.raises(CheckpointError, match="holds a run for other weights"):
        run.fit(Program(head), head, recipe(tmp_path, "crossget"), TASK, Stop())
    other = build(seed=4)
    with pytest.raises(CheckpointError, match="holds a run for other weights"):
        run.fit(Program(other), other, recipe(tmp_path, "crossget"), TASK, Stop())


@LEARNS
def test_the_file_gives_the_hard_method_that_was_trained(method, tmp_path):
    vit, path = build(), tmp_path / "learned.safetensors"
    asked = recipe(tmp_path, method, lr=0.1)
    training, error_mm = run.fit(Program(vit), vit, asked, TASK, Stop())
    run.export(training, path, "Toy", asked, error_mm)
    facts = LearnedFacts.read(path)
    assert (facts.method, facts.model) == (method, "Toy")
    told = json.loads(facts.recipe)
    assert (told["r"], told["lr"], told["flops_weight"]) == ("4x3", 0.1, training.learned.flops_weight)
    assert bool(facts.schedule) == (method in ("diffrate", "ltmp"))
    assert all(t.dtype == torch.float16 for t in load_file(path).values() if t.ndim > 1)  # half the size
    x, merged = batch_of()["img"], training.models[1]
    with torch.no_grad():
        want, plain = merged(x), vit(x)
        with Program.patch(vit, facts.schedule or "4x3", method) as handle:
            handle.load_learned(path)
            assert torch.equal(vit(x), want)
    assert not torch.equal(want, plain)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"method": "tome"}, r"method=tome .*these learn: diffrate, dtem"),
        ({"r": "off"}, "r=off was asked for, which removes nothing"),
        ({"r": "threshold:0.9"}, "give counts such as 10x16"),
        ({"r": "5y3"}, "r: cannot read '5y3'"),
        ({"val_seed": 1}, "data_seed and val_seed are both 1"),
        ({"count": 3}, "at least the 4 pictures of a batch"),
        ({"objective": "beauty"}, "objective=beauty .* use truth or unmerged"),
        ({"lr": 0.0}, "lr=0.0 was asked for; it must be above 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(changes, text, tmp_path):
    def begin() -> None:
        given, vit = recipe(tmp_path, **{"method": "ltmp", **changes}), build()
        LearnedTraining(Program(vit), vit, given.method, given.schedule, given.options)

    with pytest.raises(ConfigError, match=text):
        begin()
