"""The trunk as a pure function: what it recognises, refuses, and computes."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from toy_vit import GammaBlock, ScaledBlock, ToyBlock, ToyViT

from shared_tmu import MergePlan, Method, Schedule, run_trunk
from shared_tmu.blocks.halves import attention_half, find_misfit, mlp_half
from shared_tmu.blocks.trial import verify_block
from shared_tmu.errors import PatchError, PlanError, ScheduleError
from shared_tmu.method_parts.places import Between
from shared_tmu.method_parts.reductions import Merge
from shared_tmu.method_parts.seen import Needs
from shared_tmu.plans.reference import attend_explicitly, match_loops, merge_loops, unmerge_loops
from shared_tmu.schedule_limits import say_where_limited

FAMILIES = pytest.mark.parametrize("family", [ToyBlock, ScaledBlock, GammaBlock])


def run_explicitly(blocks, x, per_layer, prefix, proportional):
    """The trunk of plain blocks, written out with the loops of `reference`."""
    size, whole = torch.ones(x.shape[:2], dtype=x.dtype), None
    for block, r in zip(blocks, per_layer, strict=True):
        attn = block.attn
        q, k, v = attn.qkv(block.norm1(x)).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = attend_explicitly(q, k, v, size if proportional else None, attn.scale)
        x = x + attn.proj(out.transpose(1, 2).flatten(2))
        plan = match_loops(k.mean(1), r, prefix)
        x, size = merge_loops(x, plan, size)
        whole = plan if whole is None else whole.then(plan)
        x = x + block.mlp(block.norm2(x))
    return unmerge_loops(x, whole), whole


@pytest.mark.parametrize("proportional", [True, False])
@pytest.mark.parametrize("prefix", [0, 4, 18])
@pytest.mark.parametrize("per_layer", [[3, 3, 3, 3], [0, 5, 0, 7], [50, 50, 50, 0]], ids=str)
@torch.no_grad()
def test_equals_the_trunk_written_out(per_layer, prefix, proportional):
    blocks = [ToyBlock().double() for _ in range(4)]
    x = torch.randn(2, prefix + 21, 32, dtype=torch.float64)
    got, plan = run_trunk(blocks, x, per_layer, num_prefix_tokens=prefix, proportional=proportional)
    want, want_plan = run_explicitly(blocks, x, per_layer, prefix, proportional)
    assert torch.equal(plan.check().source_map, want_plan.source_map)
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


@FAMILIES
def test_two_halves_are_the_block(family):
    block = family().double().eval()
    x = torch.randn(2, 11, 32, dtype=torch.float64)
    torch.testing.assert_close(mlp_half(block, attention_half(block, x)[0]), block(x), atol=1e-12, rtol=1e-12)
    verify_block(block)


@FAMILIES
@pytest.mark.parametrize("method", ["tome", "random", "evit", "drop"])
def test_tokens_that_are_all_equal_stay_so(family, method):
    """Merging copies, or dropping them, changes nothing."""
    blocks = nn.ModuleList(family() for _ in range(3)).eval()
    copies = torch.randn(2, 1, 32).expand(2, 12, 32)
    want = copies
    for block in blocks:
        want = block(want)
    torch.testing.assert_close(run_trunk(blocks, copies, "5x3", method=method)[0], want, atol=1e-5, rtol=1e-5)


def test_blocks_run_untouched_until_the_first_merge(vit):
    called = []
    for number in (0, 1, 3):
        vit.blocks[number].register_forward_hook(lambda *_, number=number: called.append(number))
    x = torch.randn(2, 40, 32)
    with pytest.raises(PatchError, match="ToyBlock has hooks, which would not run"):
        run_trunk(vit.blocks, x, [0, 0, 6, 0])
    assert called == [0, 1]
    called.clear()
    run_trunk(vit.blocks, x, [0, 0, 6, 0], proportional=False)
    assert called == [0, 1, 3]  # without sizes in attention, a block that merges nothing is itself again


@torch.no_grad()
def test_halves_of_precision_follow_float32():
    vit = ToyViT(depth=4, width=64).eval()
    x = torch.randn(2, 60, 64)
    want, _ = run_trunk(vit.blocks, x, "off")
    for dtype, error in ((torch.bfloat16, 0.1), (torch.float16, 0.02)):
        got, _ = run_trunk(vit.to(dtype).blocks, x.to(dtype), "off")
        assert got.dtype == dtype
        assert (got - want).abs().max() < error
        merged, plan = run_trunk(vit.blocks, x.to(dtype), "10x4")
        assert merged.dtype == dtype
        assert merged.isfinite().all()
        plan.check()
    vit.float()
    copies = torch.randn(2, 15, 64).repeat_interleave(4, dim=1) + 1e-4 * torch.randn(2, 60, 64)
    with torch.autocast("cpu", torch.bfloat16):
        merged, plan = run_trunk(vit.blocks, copies, "10x3")
    plan.check()
    assert (merged - run_trunk(vit.blocks, copies, "off")[0]).abs().max() < 0.1


def test_gradients_equal_those_of_the_parts():
    blocks = [ToyBlock().double() for _ in range(2)]
    x = torch.randn(1, 9, 32, dtype=torch.float64, requires_grad=True)
    run_trunk(blocks, x, "3x2")[0].square().sum().backward()
    got = [x.grad, *(p.grad for block in blocks for p in block.parameters())]
    again = x.detach().clone().requires_grad_()
    for block in blocks:
        block.zero_grad()
    run_explicitly(blocks, again, [3, 3], 0, True)[0].square().sum().backward()
    want = [again.grad, *(p.grad for block in blocks for p in block.parameters())]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_dropout_and_drop_path_work_in_training():
    block = ToyBlock(dropout=0.4)
    block.drop_path = nn.Dropout(0.5)
    x = torch.randn(4, 20, 32)
    first, second = (run_trunk([block, block], x, "4x2")[0] for _ in range(2))
    assert not torch.equal(first, second)
    block.eval()
    first, second = (run_trunk([block, block], x, "4x2")[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_method_of_ones_own_needs_no_table(vit):
    def first_pairs(seen, r):
        slots = torch.arange(seen.shape[1]).sub(r).clamp_min(0)
        return Merge(MergePlan(slots.expand(seen.shape[0], -1), seen.shape[1] - r))

    own = Method("first", Between(first_pairs), Needs.SIZES)
    _, plan = run_trunk(vit.blocks, torch.randn(1, 10, 32), "2x2", method=own)
    assert plan.source_map.tolist() == [[0, 0, 0, 0, 0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: delattr(b, "norm2"), "it has no norm2"),
        (lambda b: delattr(b.attn, "num_heads"), "it has no attn.num_heads"),
        (
            lambda b: setattr(b.attn, "rel_pos", nn.Parameter(torch.zeros(3))),
            "attn.rel_pos, which merging would ignore",
        ),
        (lambda b: setattr(b.attn, "rel_pos", nn.Linear(3, 3)), "attn.rel_pos, which"),
        (lambda b: setattr(b.attn, "q_bias", nn.Parameter(torch.zeros(32))), "attn.q_bias, which"),
        (lambda b: setattr(b, "adapter", nn.Linear(32, 32)), "it has adapter, which"),
        (lambda b: setattr(b, "drop", nn.Dropout(0.1)), "it has drop, which"),
        (lambda b: b.register_buffer("mask", torch.zeros(3)), "it has mask, which"),
    ],
)
def test_blocks_that_are_not_understood_are_refused(change, message):
    block = ToyBlock()
    change(block)
    assert message in find_misfit(block)
    with pytest.raises(PatchError, match=f"block 1 .ToyBlock. is not a ViT block: .*{message}"):
        run_trunk([ToyBlock(), block], torch.randn(1, 8, 32), "2x2")


def test_parts_without_effect_are_accepted():
    block = ToyBlock()
    block.extra, block.attn.softmax, block.attn.norm = nn.Identity(), nn.Softmax(-1), nn.Dropout(0)
    assert find_misfit(block) is None


class PostNormBlock(ToyBlock):
    def forward(self, x):
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


class CausalBlock(ToyBlock):
    def forward(self, x):
        return torch.cat(
            [super(CausalBlock, self).forward(x[:, :n])[:, -1:] for n in range(1, x.shape[1] + 1)], 1
        )


class NeedyBlock(ToyBlock):
    def forward(self, x, position):
        return super().forward(x + position)


@pytest.mark.parametrize("family", [PostNormBlock, CausalBlock, NeedyBlock])
def test_blocks_with_the_parts_but_another_formula_are_refused(family):
    block = family()
    assert find_misfit(block) is None
    state = torch.get_rng_state()
    with pytest.raises(PatchError, match=family.__name__):
        verify_block(block)
    assert torch.equal(state, torch.get_rng_state())


def test_bad_input_is_refused(vit):
    with pytest.raises(PlanError, match=r"tokens \[B, N, C\], but this trunk was given \[1, 4, 4, 32\]"):
        run_trunk(vit.blocks, torch.randn(1, 4, 4, 32), "2x2")
    with pytest.raises(PlanError, match="num_prefix_tokens = 18, but there are only 10 tokens"):
        run_trunk(vit.blocks, torch.randn(1, 10, 32), "2x2", num_prefix_tokens=18)
    with pytest.raises(ScheduleError, match="names 5 layers, this trunk has 4"):
        run_trunk(vit.blocks, torch.randn(1, 10, 32), "2x5")
    for prefix in (-1, 2.5, True, None):
        with pytest.raises(PatchError, match="num_prefix_tokens"):
            run_trunk(vit.blocks, torch.randn(1, 10, 32), "2x2", num_prefix_tokens=prefix)


def test_no_images_and_few_tokens(vit):
    assert run_trunk(vit.blocks, torch.zeros(0, 10, 32), "2x4")[0].shape == (0, 10, 32)
    for tokens in (1, 2, 3):
        out, plan = run_trunk(vit.blocks, torch.randn(2, tokens, 32), "9x4")
        assert out.shape == (2, tokens, 32)
        assert plan.num_slots == 1


def test_the_limit_is_said_once(vit, caplog):
    say_where_limited.cache_clear()
    with caplog.at_level(logging.WARNING, "shared_tmu"):
        for _ in range(3):
            run_trunk(vit.blocks, torch.randn(1, 38, 32), "15x2", num_prefix_tokens=18)
        run_trunk(vit.blocks, torch.randn(1, 38, 32), Schedule.parse("2x2"))
    assert [record.getMessage() for record in caplog.records] == [
        "schedule '15x2' asks layer 0 to remove 15 tokens, but of the 20 that may be removed there method "
        "'tome' can remove at most 10 (limited in 2 of 4 layers; tokens per layer: 38 28 23 23 23)."
    ]


def test_nobody_is_told_of_a_limit_that_does_not_bind(caplog):
    """tomesd gives tokens back in every block, so that each block begins with all of them."""
    vit, x = ToyViT(depth=4).eval(), torch.randn(1, 16, 32)
    with caplog.at_level("WARNING"), torch.no_grad():
        run_trunk(vit.blocks, x, "9x4", method="tomesd", grid=(4, 4))
        assert not caplog.records
        run_trunk(vit.blocks, x, "13x4", method="tomesd", grid=(4, 4))
    assert [record.getMessage() for record in caplog.records] == [
        "schedule '13x4' asks layer 0 to remove 13 tokens, but of the 16 that may be removed there method "
        "'tomesd' can remove at most 12 (limited in 4 of 4 layers; tokens per layer: 16 16 16 16 16)."
    ]
