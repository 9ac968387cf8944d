"""Attention that depends on positions: every slot keeps the position of the token that leads it."""

from __future__ import annotations

import pytest
import torch
from patched import merged_output
from positional_vit import PositionalBlock, PositionalViT, run_by_hand
from torch import nn

from shared_tmu import METHODS, HeldPlans, MergePlan, patch, run_trunk
from shared_tmu.errors import PatchError
from shared_tmu.masks.attention import AttentionMask

KINDS = {
    "rope": {},
    "rope by halves": {"by_halves": True},
    "rope per block and head": {"mixed": True},
    "shared bias": {"rotary": False, "shared": True},
    "own bias": {"rotary": False, "table": 22},
    "all": {"shared": True, "table": 22},
    "grouped queries": {"split": True, "group": 2},
    "separate projections, prefix 1": {"split": True, "prefix": 1},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def vit(request: pytest.FixtureRequest) -> PositionalViT:
    return PositionalViT(**request.param).double().eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 8, 10, dtype=torch.float64)


@torch.no_grad()
def test_equals_loops_over_tokens(vit, images):
    for schedule, removed in (("4x3", [4, 4, 4]), ("0x1+7x1", [0, 7, 0])):
        want = torch.stack([run_by_hand(vit, image, removed) for image in images])
        got = merged_output(vit, images, schedule)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_off_is_the_model_bit_for_bit(vit, images):
    assert torch.equal(merged_output(vit, images, "off"), vit(images))


@torch.no_grad()
def test_positions_matter(vit, images):
    """The same weights without positions give something else, so a lost position would be noticed."""
    got = merged_output(vit, images, "4x3")
    vit.rope = None if vit.rope is None else vit.rope.roll(1, -2)
    vit.shared = None if vit.shared is None else nn.Parameter(vit.shared.roll(1, -1))
    for block in vit.blocks:
        if hasattr(block.attn, "relative_position_index"):
            block.attn.relative_position_index = block.attn.relative_position_index.roll(1, -1)
    assert not torch.allclose(merged_output(vit, images, "4x3"), got)


@torch.no_grad()
def test_equal_positions_are_as_none(images):
    """Where every position is the same, methods do what they do without positions."""
    vit = PositionalViT(shared=True, table=22).double().eval()
    angles = torch.zeros(20, 8)
    vit.rope = torch.cat([angles.sin(), angles.cos()], -1)
    plain = PositionalViT(rotary=False).double().eval()
    plain.load_state_dict(vit.state_dict(), strict=False)
    nn.init.constant_(vit.shared, 0.25)
    for block in vit.blocks:
        nn.init.constant_(block.attn.relative_position_bias_table, 0.25)
    for name, method in METHODS.items():
        if method.mixes or method.learn or method.reads == "thresholds":
            continue
        got = merged_output(vit, images, "3x3", method=name, grid=(4, 5))
        want = merged_output(plain, images, "3x3", method=name, grid=(4, 5))
        torch.testing.assert_close(got, want, msg=name)


def test_gradients_reach_a_shared_bias(images):
    vit = PositionalViT(shared=True).double()
    merged_output(vit, images, "4x3").square().sum().backward()
    assert vit.shared.grad.abs().sum() > 0


@torch.no_grad()
def test_compiles_to_one_graph(images):
    vit = PositionalViT(shared=True, table=22).double().eval()
    with patch(vit, "4x3"):
        want = vit(images)
        torch._dynamo.reset()
        compiled = torch.compile(vit, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(images), want)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"method": "dct"}, "mixture has no position"),
        ({"method": "dtem"}, "learns from attention without positions"),
        ({"protect": "last"}, "order of tokens"),
        ({"mask": AttentionMask()}, "without positions"),
    ],
)
def test_what_cannot_follow_is_refused_when_patched(options, reason):
    for vit in (PositionalViT(), PositionalViT(rotary=False, table=22)):
        with pytest.raises(PatchError, match=reason):
            patch(vit, "4x3", **options)
        patch(vit, "4x3").remove()


def test_plans_are_not_held(images):
    vit = PositionalViT().double().eval()
    with patch(vit, "4x3") as handle:
        reason = pytest.raises(PatchError, match="held plans do not say which token leads")
        with reason, handle.holding(HeldPlans(), ["a", "b"]):
            vit(images)


def test_positions_that_a_test_run_has_not_seen_are_refused_at_the_call(images):
    vit = PositionalViT(rotary=False).double().eval()
    with patch(vit, "4x3"):
        vit(images)
        vit.shared = nn.Parameter(torch.zeros(1, 4, 22, 22).double())
        with pytest.raises(PatchError, match="calls its blocks with shared_rel_pos besides tokens"):
            vit(images)


def test_positions_used_in_another_way_are_refused_when_patched():
    class Twice(PositionalBlock):
        def forward(self, x, rope=None, shared_rel_pos=None):
            return super().forward(x, None if rope is None else rope * 2, shared_rel_pos)

    vit = PositionalViT()
    vit.blocks = nn.ModuleList(Twice() for _ in range(3))
    with pytest.raises(PatchError, match="argument rope as a rotary embedding"):
        patch(vit, "4x3")


def test_the_pure_function_follows_an_own_bias():
    blocks = PositionalViT(rotary=False, table=22).blocks
    wrapped = [OwnBias(block) for block in blocks]
    x = torch.randn(2, 22, 32)
    out, plan = run_trunk(wrapped, x, "4x3", num_prefix_tokens=2)
    assert out.shape == x.shape
    assert plan.num_slots == 10


class OwnBias(nn.Module):
    """The same block, which takes nothing besides tokens."""

    def __init__(self, block):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = block.norm1, block.attn, block.norm2, block.mlp

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def test_leaders_of_a_plan():
    plan = MergePlan(torch.tensor([[0, 1, 1, 2, 0]]), 3)
    assert plan.leaders().tolist() == [[0, 1, 3]]
    pruned = MergePlan(torch.tensor([[-1, 1, 1, 0, -1]]), 2, copy_map=torch.tensor([[0, 1, 1, 0, 1]]))
    assert pruned.leaders().tolist() == [[3, 1]]
