"""What a method may do and read: the rest is refused by name, and never gives wrong numbers silently."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_vit import ToyViT

from shared_tmu import MergePlan, Method, plan_merge, run_trunk
from shared_tmu.errors import MethodError
from shared_tmu.method_parts.places import (
    After,
    Around,
    Before,
    Between,
    Inside,
    attend,
    compress,
    fuse_map,
    transform,
)
from shared_tmu.method_parts.pruning import prune_lowest
from shared_tmu.method_parts.reductions import Merge, Planned
from shared_tmu.method_parts.seen import OF_ATTENTION, Needs, Seen
from shared_tmu.methods.evit import plan_evit
from shared_tmu.methods.tome import plan_tome
from shared_tmu.plans.matching import plan_most_similar
from shared_tmu.schedule import all_but_one

X = torch.randn(2, 24, 32, generator=torch.Generator().manual_seed(0))


def run(step, needs, limit=all_but_one, schedule="6x2", **options):
    vit = ToyViT(depth=3).eval()
    with torch.no_grad():
        return run_trunk(vit.blocks, X, schedule, method=Method("own", step, needs, limit), **options)


def plan_by_features(seen: Seen, r: int) -> Merge:
    """As DiffRate merges: by the tokens after attention."""
    return Merge(plan_most_similar(seen.x, r, seen.num_prefix_tokens, seen.protected))


# -- two reductions in one block


def prune_and(second, carry=Needs.NOTHING):
    def step(block, seen, r):
        attend(block, seen)
        compress(seen, plan_evit, r // 2, carry)
        compress(seen, second, r - r // 2)
        transform(block, seen)

    return step


BOTH = Needs.ROWS | Needs.KEYS | Needs.SIZES | Needs.TOKENS


def test_prune_then_merge_by_features_as_diffrate():
    full, route = run(prune_and(plan_by_features), BOTH)
    assert full.shape == X.shape
    assert route.check().num_slots == 12
    assert route.prunes


def test_prune_then_merge_by_keys_as_ltmp():
    for prefix in (0, 2):
        _, route = run(prune_and(plan_tome, Needs.KEYS), BOTH, num_prefix_tokens=prefix)
        assert route.check().num_slots == 12


@pytest.mark.parametrize("read", ["keys", "queries", "values", "normed", "attention", "attention_received"])
def test_what_belongs_to_the_tokens_before_is_given_up(read):
    def plan(seen, r):
        got = getattr(seen, read)
        return got() if callable(got) else got

    needs = BOTH | Needs.QUERIES | Needs.VALUES | Needs.NORMED | Needs.MAP
    with pytest.raises(MethodError, match="after it has reduced the tokens"):
        run(prune_and(plan), needs)


def test_carried_keys_are_those_of_the_kept_tokens():
    keys = torch.randn(2, 4, 24, 8)
    seen = Seen(X, needs=BOTH | Needs.NORMED, parts={Needs.KEYS: keys, Needs.QUERIES: keys, Needs.NORMED: X})
    reduction = prune_lowest(torch.rand(2, 24), 9, seen)
    seen.accept(reduction, carry=Needs.KEYS | Needs.NORMED)
    want = keys.gather(2, reduction.kept[:, None, :, None].expand(-1, 4, -1, 8))
    assert torch.equal(seen.keys, want)
    assert torch.equal(seen.normed, seen.x)


def test_a_map_cannot_be_carried():
    with pytest.raises(MethodError, match="carries MAP"):
        run(prune_and(plan_tome, Needs.MAP), BOTH | Needs.MAP)


# -- places and needs


@pytest.mark.parametrize("need", list(OF_ATTENTION))
@pytest.mark.parametrize("place", [Before, Around])
def test_places_before_attention_cannot_read_it(place, need):
    with pytest.raises(MethodError, match=f"reads {need.name}, but {place.__name__} acts before attention"):
        Method("own", place(plan_tome), need | Needs.TOKENS)
    for other in (Between(plan_tome), After(plan_tome), Around(plan_tome, "MLP")):
        Method("own", other, need)


def test_inside_attention_needs_the_map():
    with pytest.raises(MethodError, match="add MAP"):
        Method("own", Inside(plan_tome), Needs.KEYS | Needs.SIZES)


@pytest.mark.parametrize(("read", "need"), [("x", Needs.TOKENS), ("size", Needs.SIZES), ("keys", Needs.KEYS)])
def test_what_is_not_listed_is_not_read(read, need):
    def plan(seen, r):
        getattr(seen, read)
        return prune_lowest(torch.rand(seen.shape), r, seen)

    with pytest.raises(MethodError, match=f"'own' reads {need.name}, .* add Needs.{need.name}"):
        run(Between(plan), Needs.NOTHING)
    run(Between(plan), need)


# -- what a plan returns


@pytest.mark.parametrize("place", [Between, Before, After, Around])
def test_a_plan_is_no_reduction(place):
    def plan(seen, r):
        return MergePlan.identity(*seen.shape)

    with pytest.raises(MethodError, match=r"'own' returned a MergePlan, .* Merge\(plan\)"):
        run(place(plan), Needs.TOKENS)
    row = Method("own", place(plan), Needs.SIZES)
    with pytest.raises(MethodError, match="returned a MergePlan"):
        plan_merge(X, 3, method=row)


@pytest.mark.parametrize("change", [-1, 2])
def test_removing_another_number_than_asked(change):
    def plan(seen, r):
        return prune_lowest(torch.rand(seen.shape), r + change, seen)

    with pytest.raises(MethodError, match=f"removed {6 + change} of 24 tokens in block 0, .* remove 6"):
        run(Between(plan), Needs.NOTHING)
    with pytest.raises(MethodError, match="removed 0 of 24"):
        run(Between(lambda seen, r: None), Needs.NOTHING)


# -- what is learned


def test_the_learned_module_has_its_type():
    seen = Seen(X, learned=nn.Linear(3, 4))
    assert seen.read_learned(nn.Linear).out_features == 4
    with pytest.raises(MethodError, match="reads a learned ModuleList, but was given Linear"):
        seen.read_learned(nn.ModuleList)
    with pytest.raises(MethodError, match="was given nothing"):
        Seen(X).read_learned(nn.Linear)


# -- pruning


@pytest.mark.parametrize("scale", [1.0, 1e6, -1e30])
def test_protection_holds_on_any_scale(scale):
    score = torch.rand(2, 24) * scale
    protected = torch.zeros(2, 24, dtype=torch.bool)
    protected[:, score.argsort(1)[0, :5]] = True
    plan = prune_lowest(score, 19, Seen(X, mask=protected)).plan
    assert torch.equal(plan.source_map >= 0, protected)


def test_without_keys_the_nearest_is_copied():
    score = torch.zeros(1, 10)
    score[0, [0, 4, 9]] = 1
    plan = prune_lowest(score, 7, Seen(X[:1, :10])).plan
    assert plan.copy_map.tolist() == [[0, 0, 0, 1, 1, 1, 1, 2, 2, 2]]


def test_a_map_is_never_reduced_by_what_is_no_mean():
    class Doubled(Planned):
        def reduce(self, x, size):
            reduced, size = Merge(self.plan).reduce(x, size)
            return 2 * reduced, size

    plan = plan_most_similar(X, 7)
    weights = torch.rand(2, 4, 24, 24).softmax(-1)
    fused = fuse_map(weights, Doubled(plan), None)
    assert torch.equal(fused, fuse_map(weights, Merge(plan), None))
    torch.testing.assert_close(fused.sum(-1), torch.ones(2, 4, 17))
