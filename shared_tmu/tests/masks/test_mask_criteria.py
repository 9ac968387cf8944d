"""What mask-guided merging must do: M1 to M11 of its reference, but those of `test_masks` and of the core."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy_vit import ToyViT

from shared_tmu import METHODS, MergePlan, patch, plan_merge, run_trunk, unmerge
from shared_tmu.flops import TrunkShape
from shared_tmu.methods import count_costs
from shared_tmu.schedule import Schedule

PAPER = "40x2+22x1"
COUNTS = [192, 152, 112, 90]


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(4, 192, 32)


def masks(kinds: tuple[str, ...] = ("empty", "few", "most", "full")) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    shares = {"empty": 0.0, "few": 0.2, "most": 0.8, "full": 1.1}
    return torch.stack([torch.rand(192, generator=draw) < shares[kind] for kind in kinds])


@torch.no_grad()
def test_m1_counts_are_the_same_for_every_item(tokens: Tensor) -> None:
    vit = ToyViT(depth=3).eval()
    assert Schedule.parse(PAPER).token_counts(3, 192) == COUNTS
    with patch(vit, PAPER, record=True) as handle, handle.masked(masks()):
        vit(tokens)
        assert [plan.num_slots for plan in handle.plans] == COUNTS[1:]
        for plan in handle.plans:
            assert plan.sizes().sum(1).tolist() == [192] * 4


def test_m2_analytic_cost_is_the_printed_one() -> None:
    def giga_macs(depth: int, schedule: str) -> float:
        costs = count_costs("tome", Schedule.parse(schedule), TrunkShape(depth, 1280, 192))
        products = sum(2 * 2 * cost.tokens_in**2 * 1280 for cost in costs)  # logits and values: not printed
        trunk = sum(cost.attention + cost.mlp for cost in costs) - products
        head = 6 * (costs[-1].tokens_out * 1280 * 1024 + 5_242_880) + 1024 * 158
        return (trunk / 2 + 192 * 768 * 1280 + head) / 1e9

    found = [giga_macs(32, "off"), giga_macs(28, "off"), giga_macs(28, PAPER)]
    assert found == pytest.approx([122.6, 107.5, 52.8], abs=0.1)


@torch.no_grad()
def test_m4_background_is_used_up_first(tokens: Tensor) -> None:
    """110 tokens of background: at 40 a step only sources with a target of background may go as such."""
    vit = ToyViT(depth=3).eval()
    mask = torch.ones(192, dtype=torch.bool)
    mask[:110] = False
    _, plan = run_trunk(vit.blocks, tokens, PAPER, mask=mask)
    assert isinstance(plan, MergePlan)
    together = plan.sizes().gather(1, plan.source_map) > 1
    assert together[:, ~mask].float().mean() > 2 * together[:, mask].float().mean()
    _, first = run_trunk(vit.blocks[:1], tokens, "40x1", mask=mask)
    assert isinstance(first, MergePlan)
    assert first.sizes().gather(1, first.source_map)[:, mask].eq(1).all()  # the first step has enough


@settings(max_examples=100)
@given(
    patches=st.integers(2, 24), share=st.floats(0.0, 1.0), prefix=st.sampled_from([0, 2]), seed=st.integers(0)
)
def test_m4_the_subject_goes_only_where_no_pair_of_background_is_left(patches, share, prefix, seed) -> None:
    """Counted exactly, for every number of tokens that one step can remove."""
    draw = torch.Generator().manual_seed(seed % 2**31)
    metric = torch.randn(1, prefix + patches, 8, generator=draw)
    mask = torch.rand(1, prefix + patches, generator=draw) < share
    is_source = torch.arange(prefix + patches).sub(prefix) % 2 == 0
    is_source[:prefix] = False
    background = ~mask[0, prefix:]
    pairs = int(background[0::2].sum()) if background[1::2].any() else 0  # each source takes one target
    for r in range(1, patches // 2 + 1):
        plan = plan_merge(metric, r, prefix, protected=mask)
        groups = plan.source_map[0]
        gone = [s for s in is_source.nonzero().flatten().tolist() if (groups == groups[s]).sum() > 1]
        assert len(gone) == r
        with_subject = 0
        for source in gone:
            (target,) = ((groups == groups[source]) & ~is_source).nonzero().flatten().tolist()
            with_subject += bool(mask[0, source] or mask[0, target])
        assert with_subject == max(0, r - pairs)


@torch.no_grad()
def test_m5_an_empty_mask_is_plain_merging(tokens: Tensor) -> None:
    vit = ToyViT(depth=3).eval()
    plain, route = run_trunk(vit.blocks, tokens, PAPER)
    out, masked = run_trunk(vit.blocks, tokens, PAPER, mask=torch.zeros(4, 192, dtype=torch.bool))
    assert torch.equal(out, plain)
    assert torch.equal(masked.source_map, route.source_map)


@torch.no_grad()
def test_m6_a_full_mask_is_finite_and_deterministic(tokens: Tensor) -> None:
    vit = ToyViT(depth=3).eval()
    full = torch.ones(4, 192, dtype=torch.bool)
    runs = [run_trunk(vit.blocks, tokens, PAPER, mask=full) for _ in range(2)]
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][0].isfinite().all()
    assert runs[0][1].num_slots == 90


@torch.no_grad()
def test_m7_nothing_to_remove_is_the_unpatched_model(tokens: Tensor) -> None:
    vit = ToyViT(depth=3).eval()
    want = vit(tokens)
    with patch(vit, "off") as handle, handle.masked(masks()):
        assert torch.equal(vit(tokens), want)


@torch.no_grad()
def test_m8_duplicates_merge_without_a_trace() -> None:
    """Each source has a twin among the targets; the foreground has none and stays alone."""
    vit = ToyViT(depth=3).double().eval()
    pairs = torch.randn(2, 16, 32, dtype=torch.float64).repeat_interleave(2, dim=1)
    tokens = torch.cat([pairs, torch.randn(2, 8, 32, dtype=torch.float64)], dim=1)
    mask = torch.zeros(40, dtype=torch.bool)
    mask[32:] = True
    want = vit.last_norm(vit.blocks[2](vit.blocks[1](vit.blocks[0](tokens))))
    with patch(vit, "16x1", record=True) as handle, handle.masked(mask):
        torch.testing.assert_close(vit(tokens), want, atol=1e-5, rtol=1e-5)
        assert handle.plan.sizes().gather(1, handle.plan.source_map)[:, mask].eq(1).all()


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if not row.mixes])
@torch.no_grad()
def test_m10_prefix_tokens_never_merge_and_the_grid_comes_back(name: str) -> None:
    vit = ToyViT(depth=3, task_tokens=18).eval()
    tokens = torch.randn(4, 192, 32)
    for mask in (masks(), torch.ones(4, 192, dtype=torch.bool)):
        schedule = "threshold:0.9" if METHODS[name].reads == "thresholds" else PAPER
        with patch(vit, schedule, name, num_prefix_tokens=18, record=True, grid=(16, 12)) as handle:
            with handle.masked(mask):
                out = vit(tokens)
            plan = handle.plan
        assert out.shape == (4, 210, 32)
        if plan is None or not METHODS[name].removes:
            continue
        assert plan.source_map[:, :18].tolist() == [list(range(18))] * 4
        assert plan.sizes()[:, :18].eq(1).all()
        slots = torch.randn(4, plan.num_slots, 5)
        back = unmerge(slots, plan)
        copied = plan.source_map if plan.copy_map is None else plan.copy_map
        assert torch.equal(back, slots.gather(1, copied.unsqueeze(2).expand(-1, -1, 5)))


def draw_foreground(count: int) -> tuple[Tensor, Tensor]:
    """Tokens of which 12 of 48 say something in 4 channels, and look alike but for that; which they are."""
    x = torch.randn(count, 48, 32)
    mask = torch.rand(count, 48).argsort(1) < 12
    common = 1.0 + 0.1 * torch.randn(count, 48, 28)
    x[..., 4:] = torch.where(mask.unsqueeze(2), common, x[..., 4:])
    x[..., :4] = torch.where(mask.unsqueeze(2), x[..., :4], torch.tensor(-3.0))
    return x, mask


def test_m11_masked_merging_keeps_what_the_foreground_says() -> None:
    """Plain merging takes the foreground first, since it looks alike, and averages what it says."""
    vit = ToyViT(depth=2).eval()
    with torch.no_grad():
        x, _ = draw_foreground(128)
        head = torch.linalg.lstsq(vit(x).flatten(0, 1), x[..., :4].flatten(0, 1)).solution  # learned
        x, mask = draw_foreground(256)
        truth, error = x[..., :4].amax(1), {}
        with patch(vit, "16x1", record=True) as handle:
            for name, spared in (("plain", torch.zeros_like(mask)), ("masked", mask)):
                with handle.masked(spared):
                    error[name] = float(((vit(x) @ head).amax(1) - truth).square().mean())
                assert handle.plan.num_slots == 32
    assert error["masked"] < 0.8 * error["plain"]
