"""Methods that learn, on a small one: a projection of the normed tokens per block, as DTEM has."""

from __future__ import annotations

import copy
import io
import json
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from toy_vit import SequentialViT, ToyViT

from shared_tmu import METHODS, Method, PatchHandle, patch, run_trunk
from shared_tmu.errors import CheckpointError, MethodError, PatchError
from shared_tmu.files.checkpoints import save_safetensors
from shared_tmu.method_parts.learned import mark_trunk
from shared_tmu.method_parts.places import Between
from shared_tmu.method_parts.reductions import Planned
from shared_tmu.method_parts.seen import Needs, Seen
from shared_tmu.plans.matching import plan_most_similar

VITS = pytest.mark.parametrize("build", [ToyViT, SequentialViT])


@dataclass(frozen=True, eq=False)
class Weighted(Planned):
    """A mean by learned weights."""

    weights: Tensor

    def reduce(self, x, size):
        rows = self.plan.source_map.unsqueeze(2)
        zeros = x.new_zeros(len(x), self.plan.num_slots, 1)
        weights = self.weights.unsqueeze(2).to(x.dtype)
        total = zeros.scatter_add(1, rows, weights)
        sums = zeros.expand(-1, -1, x.shape[2]).scatter_add(1, rows.expand_as(x), x * weights)
        return sums / total, self.plan.sizes().to(x.dtype)


def plan_learned(seen: Seen, r: int) -> Weighted:
    """Pairs by a learned metric, averaged by a learned weight."""
    metric = seen.learned[seen.layer](seen.normed.detach())
    plan = plan_most_similar(metric[..., 1:].detach(), r, seen.num_prefix_tokens, seen.protected)
    return Weighted(plan, metric[..., 0].exp())


def learn(blocks):
    return nn.ModuleList(nn.Linear(block.attn.proj.in_features, 9) for block in blocks)


LEARNS = Method("learns", Between(plan_learned), Needs.NORMED | Needs.SIZES, learn=learn)


@VITS
def test_the_handle_owns_a_module_beside_the_model(build, tokens, tmp_path):
    vit = build(depth=3).eval()
    keys, count = list(vit.state_dict()), len(list(vit.parameters()))
    with patch(vit, "6x3", LEARNS) as handle:
        assert list(vit.state_dict()) == keys
        assert len(list(vit.parameters())) == count
        assert len(list(handle.parameters())) == 6
        want = vit(tokens)
        handle.save_learned(tmp_path / "learned.safetensors")
        with torch.no_grad():
            for parameter in handle.parameters():
                parameter.mul_(-1)
        assert not torch.allclose(vit(tokens), want)
        handle.load_learned(tmp_path / "learned.safetensors")
        assert torch.equal(vit(tokens), want)
    assert list(vit.state_dict()) == keys
    assert handle.learned is not None


@VITS
def test_gradients_reach_it(build, tokens):
    vit = build(depth=3).requires_grad_(False)
    with patch(vit, "6x3", LEARNS) as handle:
        optimizer = torch.optim.Adam(handle.parameters(), 0.05)
        target, losses = torch.randn(2, 40, 32), []
        for _ in range(12):
            loss = (vit(tokens) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in handle.learned[0].parameters())
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0]


@VITS
def test_it_moves_and_is_cast_with_the_model(build, tokens):
    vit = build(depth=3).eval()
    with patch(vit, "6x3", LEARNS) as handle:
        want = vit(tokens)
        vit.double()
        assert {p.dtype for p in handle.parameters()} == {torch.float64}
        torch.testing.assert_close(vit(tokens.double()).float(), want, atol=1e-4, rtol=1e-4)
        vit.train()
        assert handle.learned.training
        vit.eval()
        assert not handle.learned.training
        vit.to("meta")
        assert {p.device.type for p in handle.parameters()} == {"meta"}


def test_copies_and_files_take_it_along(tokens):
    vit = ToyViT(depth=3).eval()
    with patch(vit, "6x3", LEARNS) as handle:
        want = vit(tokens)
        stream = io.BytesIO()
        torch.save(vit, stream)
        stream.seek(0)
        twins = [copy.deepcopy(vit), pickle.loads(pickle.dumps(vit)), torch.load(stream, weights_only=False)]
        with torch.no_grad():
            next(handle.parameters()).zero_()
    for twin in twins:
        assert torch.equal(twin(tokens), want)
        assert len(list(PatchHandle.find(twin).parameters())) == 6


def test_the_pure_function_takes_it(tokens):
    vit = ToyViT(depth=3).eval()
    with pytest.raises(MethodError, match=r"'learns' has learned parts: .*learned=method.learn\(blocks\)"):
        run_trunk(vit.blocks, tokens, "6x3", method=LEARNS)
    learned = learn(list(vit.blocks))
    out, plan = run_trunk(vit.blocks, tokens, "6x3", method=LEARNS, learned=learned)
    assert out.shape == tokens.shape
    assert plan.num_slots == 22


def test_files_of_something_else_are_refused(tokens, tmp_path):
    vit = ToyViT(depth=3)
    with patch(vit, "6x3", METHODS["tome"]) as handle:
        assert list(handle.parameters()) == []
        for call in (handle.save_learned, handle.load_learned):
            with pytest.raises(PatchError, match="'tome' learns nothing"):
                call(tmp_path / "x.safetensors")
    with patch(ToyViT(depth=2), "6x2", LEARNS) as other:
        other.save_learned(tmp_path / "two.safetensors")
    with patch(vit, "6x3", LEARNS) as handle:
        with pytest.raises(CheckpointError, match="was trained for other weights, for which alone"):
            handle.load_learned(tmp_path / "two.safetensors")
        state = handle.learned.state_dict()
        for_this = {"method": "learns", "trunk": json.dumps(mark_trunk(vit.blocks))}
        for name, content, text in (
            ("method", {"method": "dtem"}, "holds the learned parts of method 'dtem', not of 'learns'"),
            ("nothing", {}, "does not hold the learned parts of a method"),
            ("mark", {"method": "learns", "trunk": "[1, NaN]"}, "does not say to which weights it belongs"),
            ("unmarked", {"method": "learns"}, "does not say to which weights it belongs"),
            ("finite", for_this, "'0.bias' has numbers that are not finite"),
            ("whole", for_this, "'0.bias' has numbers of type int32, not floats"),
        ):
            bias = {"finite": state["0.bias"] * torch.nan, "whole": state["0.bias"].int()}
            bad = {**state, "0.bias": bias.get(name, state["0.bias"])}
            save_safetensors(bad, tmp_path / name, content)
            with pytest.raises(CheckpointError, match=text):
                handle.load_learned(tmp_path / name)
        del state["2.bias"]
        save_safetensors(state, tmp_path / "short", for_this)
        missing = r"'2.bias' is missing, expected \[9\] \(1 such tensors\)"
        with pytest.raises(CheckpointError, match=missing):
            handle.load_learned(tmp_path / "short")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_are_recognised_in_every_number_format(dtype, tmp_path):
    vit, file = ToyViT(depth=3), tmp_path / "learned.safetensors"
    with patch(vit, "6x3", LEARNS) as handle:
        handle.save_learned(file)
    with patch(vit.to(dtype), "6x3", LEARNS) as handle:
        handle.load_learned(file)
    with torch.no_grad():
        vit.blocks[1].norm1.weight.mul_(1.1)
    with patch(vit, "6x3", LEARNS) as handle, pytest.raises(CheckpointError, match="other weights"):
        handle.load_learned(file)


def test_what_the_row_does_not_list_is_not_to_be_had(tokens):
    vit = ToyViT(depth=2).eval()
    greedy = Method("greedy", Between(lambda seen, r: seen.keys), Needs.SIZES)
    with pytest.raises(
        MethodError, match=r"'greedy' reads KEYS, which its row of the table does not list: add"
    ):
        run_trunk(vit.blocks, tokens, "6x2", method=greedy)


@pytest.mark.parametrize("method", ["dtem", "fpet", "ltmp"])
def test_making_it_seeds_no_other_generator(method, monkeypatch):
    """`torch.manual_seed` seeds every GPU, whose generators nobody restores."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    vit = ToyViT(depth=2)
    vits = [vit, copy.deepcopy(vit)]
    before = torch.get_rng_state()
    first, second = (patch(vit, "off", method) for vit in vits)
    assert not seeded
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
