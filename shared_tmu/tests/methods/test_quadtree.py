"""Merging along a quadtree: candidates by the grid and the mask, order by features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import METHODS, run_trunk
from shared_tmu.errors import MethodError
from shared_tmu.method_parts.seen import Needs, Seen
from shared_tmu.methods import find_method
from shared_tmu.methods.quadtree import plan_quadtree, z_curve
from shared_tmu.plans.plan import MergePlan

LARGE = 100.0


def seen_of(keys: torch.Tensor, grid: tuple[int, int], mask: torch.Tensor | None = None) -> Seen:
    """A block whose metric is `keys`, `[B, T + P, D]`."""
    batch, count, _ = keys.shape
    seen = Seen(torch.zeros(batch, count, 4), num_prefix_tokens=count - grid[0] * grid[1], grid=grid)
    seen.needs, seen.mask = METHODS["quadtree"].needs, mask
    seen.parts = {Needs.KEYS: keys.unsqueeze(1)}
    return seen


def plan_of(keys: torch.Tensor, grid: tuple[int, int], r: int, **more: object) -> MergePlan:
    mask = more.pop("mask", None)
    return plan_quadtree(seen_of(keys, grid, mask), r, **more).plan.check()


@pytest.mark.parametrize(("r", "rows", "columns"), [(48, 1, 2), (72, 2, 2), (84, 2, 4), (90, 4, 4)])
def test_whole_levels_are_cells(r, rows, columns):
    plan = plan_of(torch.randn(1, 96, 4), (8, 12), r, step=LARGE, reach=10 * LARGE)
    groups = plan.source_map.view(8, 12)
    want = groups[::rows, ::columns].repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    assert torch.equal(groups, want)
    assert plan.num_slots == 96 - r


def joined(keys: torch.Tensor, r: int, **more: object) -> list[set[int]]:
    """Groups of several tokens of a grid of 8 x 8."""
    groups = plan_of(keys, (8, 8), r, **more).source_map[0]
    every = [set((groups == slot).nonzero().flatten().tolist()) for slot in groups.unique()]
    return [group for group in every if len(group) > 1]


def test_far_tokens_have_to_be_more_alike():
    """Patches 0 and 1 are a pair, 0 and 63 share the whole grid alone."""
    keys = torch.eye(64).unsqueeze(0)
    keys[0, 1, 0], keys[0, 63, 0] = 1.0, 1.5  # similarities of 0.71 and 0.83
    assert joined(keys, 1) == [{0, 1}]
    assert joined(keys, 1, step=0.01) == [{0, 63}]
    assert joined(keys, 1, reach=0.15) == [{0, 63}]  # 0.05 farther
    assert joined(keys, 2) == [{0, 1, 63}]


@given(st.integers(0, 999), st.integers(1, 23), st.floats(0, 1), st.floats(0, 2))
def test_as_written_with_loops(seed, r, step, reach):
    torch.manual_seed(seed)
    keys, weight = torch.randn(1, 24, 4).double(), 0.25 * (torch.rand(1, 24) < 0.3)
    code = z_curve((6, 4), torch.device("cpu"))[0].tolist()
    unit = (keys / keys.norm(dim=2, keepdim=True))[0]
    wish = []
    for i in range(24):
        for j in range(24):
            if code[j] < code[i]:
                far = min((code[i] ^ code[j]).bit_length() * step, reach)
                heavy = float(weight[0, i].maximum(weight[0, j]))
                wish.append((far - float(unit[i] @ unit[j]) + heavy, i, j))
    leader, gone = list(range(24)), set()
    for _, i, j in sorted(wish):
        if i not in gone and len(gone) < r:
            gone.add(i)
            leader[i] = j
    for i in sorted(range(24), key=lambda n: code[n]):
        leader[i] = leader[leader[i]]
    groups = plan_of(keys, (6, 4), r, mask=weight, step=step, reach=reach).source_map[0]
    assert torch.equal(groups[:, None] == groups, torch.tensor(leader)[:, None] == torch.tensor(leader))


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 1), (3, 5), (16, 12)])
def test_codes_are_unique_and_order_squares(grid):
    code, bits = z_curve(grid, torch.device("cpu"))
    assert code.unique().numel() == grid[0] * grid[1]
    assert int(code.max()) < 2**bits or bits == 0
    row, column = torch.arange(grid[0])[:, None], torch.arange(grid[1])
    square = (row // 2 * 100 + column // 2).flatten()
    assert torch.equal((code >> 2).unique(return_inverse=True)[1], _ranked(square, code))


def _ranked(square: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """Numbers of the squares by their lowest code."""
    first = torch.stack([code[square == s].min() for s in square])
    return first.unique(return_inverse=True)[1]


@given(st.integers(0, 999), st.integers(1, 23), st.sampled_from([0, 2]))
def test_protected_ones_wait(seed, r, prefix):
    torch.manual_seed(seed)
    mask = torch.rand(2, prefix + 24) < torch.rand(2, 1)
    mask[:, :prefix] = False
    plan = plan_of(torch.randn(2, prefix + 24, 4), (6, 4), r, mask=mask)
    groups, sizes = plan.source_map, plan.sizes().gather(1, plan.source_map)
    for image in range(2):
        free = int((~mask[image, prefix:]).sum())
        removed = len(mask[image].nonzero()) - groups[image][mask[image]].unique().numel()
        assert removed == max(r - max(free - 1, 0), 0) - (r == 23 and 0 < free < 24)
        if r < 23:  # nothing of the background joins the foreground before the very last
            assert not set(groups[image][mask[image]].tolist()) & set(groups[image][~mask[image]].tolist())
        assert sizes[image, :prefix].eq(1).all()


def test_several_blocks_keep_what_fewer_have_merged(vit):
    x = torch.randn(2, 3 + 96, 32)
    options = {"method": "quadtree", "num_prefix_tokens": 3, "grid": (12, 8)}
    _, few = run_trunk(vit.blocks, x, [7, 40], **options)
    _, more = run_trunk(vit.blocks, x, [7, 40, 11, 9], **options)
    for image in range(2):
        for slot in few.source_map[image].unique():
            assert more.source_map[image][few.source_map[image] == slot].unique().numel() == 1


def test_whole_levels_do_not_depend_on_features():
    """All 38 pairs outside of the mask: a plan that noise cannot change."""
    mask = torch.zeros(2, 96, dtype=torch.bool)
    mask[:, 30:50] = True
    plans = [
        plan_of(torch.randn(2, 96, 4), (8, 12), 38, mask=mask, step=LARGE, reach=10 * LARGE) for _ in range(2)
    ]
    assert torch.equal(plans[0].source_map, plans[1].source_map)


def test_grids_that_do_not_fit_are_refused(vit):
    with pytest.raises(MethodError, match="8 x 8"):
        run_trunk(vit.blocks, torch.randn(1, 60, 32), "5x2", method="quadtree", grid=(8, 8))


@pytest.mark.parametrize("option", ["step=-0.1", "reach=nan", "step=inf"])
def test_options_out_of_range_are_refused_before_anything_runs(option):
    with pytest.raises(MethodError, match="use a number from 0 to 1000000"):
        find_method(f"quadtree:{option}")


def test_many_images_are_compared_in_parts(monkeypatch):
    keys, weight = torch.randn(7, 24, 4), 0.25 * (torch.rand(7, 24) < 0.3)
    whole = plan_of(keys, (6, 4), 9, mask=weight).source_map
    monkeypatch.setattr("shared_tmu.methods.quadtree.MAX_SCORES", 2 * 24 * 24)
    assert torch.equal(plan_of(keys, (6, 4), 9, mask=weight).source_map, whole)
