"""ToMe that prefers background by a score of its own."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from shared_tmu import METHODS, plan_merge, run_trunk
from shared_tmu.method_parts.seen import Needs, Seen
from shared_tmu.methods.preferring import find_nearness, plan_centre, plan_received


def seen_of(tokens: int, prefix: int = 0, batch: int = 2, grid=None) -> Seen:
    seen = Seen(torch.randn(batch, prefix + tokens, 8), num_prefix_tokens=prefix, grid=grid)
    seen.needs = METHODS["tome-received"].needs | Needs.GRID
    q, k = torch.randn(2, batch, 2, prefix + tokens, 4)
    seen.parts = {Needs.KEYS: k, Needs.QUERIES: q}
    return seen


@pytest.mark.parametrize("plan", [plan_received, plan_centre])
@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_without_weight_it_is_tome(plan, prefix):
    seen = seen_of(24, prefix, grid=(6, 4))
    want = plan_merge(seen.metric, 7, prefix)
    assert torch.equal(plan(seen, 7, weight=0).plan.source_map, want.source_map)


@pytest.mark.parametrize(
    ("plan", "every"), [(plan_received, 5), (partial(plan_received, every=1), 1), (plan_centre, None)]
)
@pytest.mark.parametrize("prefix", [0, 1])
def test_of_equally_similar_pairs_unimportant_ones_merge(plan, every, prefix):
    seen = seen_of(24, prefix, grid=(6, 4))
    shift = torch.randint(-8, 9, (2, 1, prefix + 24, 4)) / 8
    seen.parts[Needs.KEYS] = torch.cat([1 + shift, 1 - shift], dim=1)  # all means, so all cosines, are equal
    rows = slice(None, None, every)
    value = find_nearness(seen) if every is None else seen.attention_received(rows)[:, prefix:]
    source_map = plan(seen, 5, weight=0.5).plan.source_map
    first = 1 if prefix == 1 else 0  # the first source
    joined = source_map[:, prefix:][:, first::2] == source_map[:, prefix + 1 - first].unsqueeze(1)
    rank = value.argsort(dim=1, stable=True).argsort(dim=1)[:, first::2]
    assert joined.sum(1).eq(5).all()
    assert (rank.masked_fill(joined, -1).amax(1) >= 0).all()
    assert (rank.masked_fill(~joined, -1).amax(1) < rank.masked_fill(joined, 99).amin(1)).all()


def test_a_group_is_where_its_patches_are():
    seen = seen_of(16, grid=(4, 4))
    near = find_nearness(seen)[0].view(4, 4)
    assert torch.equal(near, near.flip(0))
    assert torch.equal(near, near.T)
    assert near.argmax() in (5, 6, 9, 10)
    seen.route = plan_merge(torch.randn(2, 16, 4), 5)
    seen.tokens = torch.randn(2, 11, 8)
    grouped = find_nearness(seen)
    for image in range(2):
        for slot in range(11):
            members = near.flatten()[seen.route.source_map[image] == slot]
            torch.testing.assert_close(grouped[image, slot], members.mean())


@torch.no_grad()
def test_the_middle_stays(vit):
    x = torch.randn(2, 96, 32)
    options = {"grid": (12, 8), "num_prefix_tokens": 0}
    _, plain = run_trunk(vit.blocks, x, "8x3", **options)
    _, route = run_trunk(vit.blocks, x, "8x3", method="tome-centre:weight=1", **options)
    middle = torch.zeros(12, 8, dtype=torch.bool)
    middle[4:8, 2:6] = True
    alone = [
        plan.sizes().gather(1, plan.source_map)[:, middle.flatten()].eq(1).float().mean()
        for plan in (plain, route)
    ]
    assert alone[1] > 0.9
    assert alone[1] > alone[0]
