"""A method inside attention, as MCTF acts: written here as its paper says, against its program's numbers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from golden_trunk import assert_golden, part
from golden_vit import build_vit, embed, read_method
from torch import Tensor

from shared_tmu import MergePlan, Method, run_trunk
from shared_tmu.method_parts.places import Inside
from shared_tmu.method_parts.reductions import Planned
from shared_tmu.method_parts.seen import Needs, Seen

TENSORS, CASES = read_method("vit_mctf")
TAUS = (1, 20, 40)


@dataclass(frozen=True, eq=False)
class Pooled(Planned):
    """The mean by other weights than sizes; sizes add up."""

    weights: Tensor
    is_mean = True

    def reduce(self, x, size):
        batch, slots = len(x), self.plan.num_slots
        source = self.plan.source_map
        total = x.new_zeros(batch, slots).scatter_add(1, source, self.weights)
        rows = source.unsqueeze(2).expand_as(x)
        sums = x.new_zeros(batch, slots, x.shape[2]).scatter_add(1, rows, x * self.weights.unsqueeze(2))
        size = torch.ones_like(self.weights) if size is None else size
        return sums / total.unsqueeze(2), x.new_zeros(batch, slots).scatter_add(1, source, size)


def plan_mctf(seen: Seen, r: int, is_both_ways: bool = True) -> Pooled:
    """Similar, unimportant, small tokens join; then some of the others join those."""
    x, (batch, count) = seen.x, seen.shape
    size = x.new_ones(batch, count) if seen.size is None else seen.size
    received = seen.attention.mean((1, 2))
    unit = F.normalize(x, dim=-1)
    score = ((unit[:, ::2] @ unit[:, 1::2].mT + 1) / 2) ** (1 / TAUS[0])
    for criterion, tau in ((1 / received, TAUS[1]), (1 / size, TAUS[2])):
        share = criterion / criterion.amax(1, keepdim=True)
        score = score * (share[:, ::2, None] * share[:, None, 1::2]) ** (1 / tau)
    score[:, 0] = -torch.inf
    first = r // 2 if is_both_ways else r
    best, target = score.max(-1)
    order = best.argsort(dim=1, descending=True)
    joins, stays = order[:, :first], order[:, first:].sort(1).values
    leader = torch.arange(count).repeat(batch, 1)  # as a position
    even, odd = leader[:, ::2].clone(), leader[:, 1::2].clone()
    lead_even = even.scatter(1, joins, odd.gather(1, target.gather(1, joins)))
    lead_odd, left = odd.clone(), torch.arange(odd.shape[1]).expand(batch, -1)
    if is_both_ways:
        back = score.gather(1, stays.unsqueeze(2).expand(-1, -1, score.shape[2])).mT
        best, target = back.max(-1)
        order = best.argsort(dim=1, descending=True)
        moves, left = order[:, : r - first], order[:, r - first :]
        onto = even.gather(1, stays.gather(1, target.gather(1, moves)))
        lead_odd = lead_odd.scatter(1, moves, onto)
        moved = lead_odd.gather(1, (lead_even // 2).clamp(max=odd.shape[1] - 1))
        lead_even = torch.where(lead_even % 2 == 1, moved, lead_even)
    leader[:, ::2], leader[:, 1::2] = lead_even, lead_odd
    slots = torch.cat([even.gather(1, stays), odd.gather(1, left)], 1)
    number = torch.full_like(leader, -1).scatter(1, slots, torch.arange(slots.shape[1]).expand(batch, -1))
    plan = MergePlan(number.gather(1, leader), slots.shape[1])
    return Pooled(plan, received * size / size.amax(1, keepdim=True))


def plan_one_way(seen: Seen, r: int) -> Pooled:
    return plan_mctf(seen, r, is_both_ways=False)


def row(case, limit=lambda n, t: max(min((n - 1) // 2, n - 10), 0)):
    plan = plan_mctf if case["bidirectional"] else plan_one_way
    return Method("mctf", Inside(plan), Needs.TOKENS | Needs.SIZES | Needs.MAP, limit)


AHEAD = [name for name, case in CASES.items() if case["one_step_ahead"] is True]


@torch.no_grad()
@pytest.mark.parametrize("name", AHEAD)
def test_mctf_in_a_vit(name):
    case, want = CASES[name], part(TENSORS, name)
    asked = case["r"] if case["r"] >= 1 else 1 - case["r"]  # what is removed, or the share that is kept
    schedule = [asked if layer in case["layers"] else 0 for layer in range(4)]
    options = {"method": row(case), "num_prefix_tokens": 1, "proportional": case["prop_attn"]}
    blocks, x = build_vit().blocks, embed(TENSORS["image"])
    short, plan = run_trunk(blocks, x, schedule, unmerge=False, **options)
    assert torch.equal(plan.source_map, want["map"])
    assert torch.equal(plan.sizes(), want["size"][..., 0].long())
    assert_golden(short, want["tokens"], 1e-4)
    full, _ = run_trunk(blocks, x, schedule, **options)
    assert full.shape == x.shape


def test_gradients_go_through_the_fused_map():
    blocks = build_vit().double().blocks
    x = torch.randn(1, 20, 64, dtype=torch.float64, requires_grad=True)
    method = Method("mctf", Inside(plan_mctf), Needs.TOKENS | Needs.SIZES | Needs.MAP)

    def loss(x):
        return run_trunk(blocks, x, "4x4", method=method, num_prefix_tokens=1)[0].square().sum()

    (grad,) = torch.autograd.grad(loss(x), x)
    assert grad.isfinite().all()
    assert grad.abs().sum() > 0
