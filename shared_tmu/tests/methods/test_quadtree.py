"""Merging along a quadtree: candidates by the grid and the mask, order by features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import METHODS, run_trunk
from shared_tmu.errors import MethodError
from shared_tmu.method_parts.seen import Needs, Seen
from shared_tmu.methods.quadtree import find_parents, plan_quadtree, z_curve
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
    plan = plan_of(torch.randn(1, 96, 4), (8, 12), r, step=LARGE)
    groups = plan.source_map.view(8, 12)
    want = groups[::rows, ::columns].repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    assert torch.equal(groups, want)
    assert plan.num_slots == 96 - r


def test_the_most_alike_cells_merge_first():
    keys = torch.eye(16).unsqueeze(0)  # nothing is alike
    keys[0, 9] = keys[0, 8] + 0.1 * keys[0, 9]
    groups = plan_of(keys, (4, 4), 1).source_map[0]
    assert (groups == groups[8]).nonzero().flatten().tolist() == [8, 9]
    keys[0, 13] = keys[0, 9]  # as alike, but in the other column of another row: not neighbours in the tree
    groups = plan_of(keys, (4, 4), 2).source_map[0]
    assert groups[13] != groups[9]


@given(st.lists(st.integers(0, 255), unique=True, min_size=1, max_size=40))
def test_parents(codes):
    codes = sorted(codes)
    level, parent = find_parents(torch.tensor([codes]), 8)
    for place, code in enumerate(codes):
        if place == 0:
            assert (level[0, 0], parent[0, 0]) == (9, 0)
            continue
        want = next(k for k in range(1, 9) if any(c >> k == code >> k for c in codes[:place]))
        first = next(i for i, c in enumerate(codes) if c >> want == code >> want)
        assert (level[0, place], parent[0, place]) == (want, first)


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


def test_weights_are_added_to_the_cost():
    keys = torch.ones(1, 16, 4) + 0.01 * torch.randn(1, 16, 4)
    weight = torch.zeros(1, 16)
    weight[0, [0, 4, 6]] = 0.5
    # of 8 pairs 5 have no weight, and all of the lower half merges before one that has
    groups = plan_of(keys, (4, 4), 8, mask=weight).source_map[0]
    assert [(groups == groups[patch]).sum() for patch in (0, 4, 6, 2, 8)] == [1, 1, 1, 2, 8]
    weight[0] = 0.5  # all alike: only differences count
    assert torch.equal(*(plan_of(keys, (4, 4), 9, mask=m).source_map for m in (weight, torch.zeros(1, 16))))


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
    plans = [plan_of(torch.randn(2, 96, 4), (8, 12), 38, mask=mask, step=LARGE) for _ in range(2)]
    assert torch.equal(plans[0].source_map, plans[1].source_map)


def test_grids_that_do_not_fit_are_refused(vit):
    with pytest.raises(MethodError, match="8 x 8"):
        run_trunk(vit.blocks, torch.randn(1, 60, 32), "5x2", method="quadtree", grid=(8, 8))
