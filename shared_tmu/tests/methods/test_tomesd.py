"""tomesd: how many tokens it removes in a block, and where it cannot."""

from __future__ import annotations

import pytest
import torch
from toy_vit import ToyViT

from shared_tmu import METHODS, Method, Schedule, run_trunk
from shared_tmu.errors import MethodError
from shared_tmu.flops import TrunkShape
from shared_tmu.method_parts.places import Around
from shared_tmu.method_parts.reductions import Merge
from shared_tmu.method_parts.seen import Needs
from shared_tmu.methods import count_costs, find_method
from shared_tmu.methods.tomesd import limit_tomesd
from shared_tmu.plans.plan import MergePlan
from shared_tmu.schedule import all_but_one


@pytest.mark.parametrize("cell", [(2, 2), (1, 2), (4, 4), (3, 2), (1, 1)])
@pytest.mark.parametrize("grid", [(16, 12), (7, 9), (5, 4), (4, 4)])
@pytest.mark.parametrize("prefix", [0, 3])
@torch.no_grad()
def test_a_block_works_on_as_many_tokens_as_are_counted(cell, grid, prefix):
    """Of every r that is asked, also the largest; so FLOPs and warnings say what runs."""
    vit, tokens, seen = ToyViT(depth=1).eval(), prefix + grid[0] * grid[1], []
    vit.blocks[0].attn.qkv.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    method = find_method(f"tomesd:cell={cell[0]}x{cell[1]}")
    for ask in ("1", "9", "0.5", "0.1", "1000"):
        full, _ = run_trunk(
            vit.blocks, torch.randn(2, tokens, 32), ask, method=method, num_prefix_tokens=prefix, grid=grid
        )
        (cost,) = count_costs(method, Schedule.parse(ask), TrunkShape(1, 32, tokens, prefix))
        assert full.shape == (2, tokens, 32)
        assert seen.pop() == cost.work.qkv


def test_the_limit_is_all_but_one_of_a_cell():
    assert [limit_tomesd(n, 0) for n in (0, 1, 3, 4, 5, 192)] == [0, 0, 0, 3, 4, 144]
    assert limit_tomesd(18 + 192, 18) == 144
    assert find_method("tomesd:cell=4x4").limit(192, 0) == 180
    assert METHODS["tomesd"].limit is limit_tomesd


def test_a_grid_without_a_whole_cell_is_refused():
    vit, x = ToyViT(depth=2).eval(), torch.randn(1, 7, 32)
    with pytest.raises(MethodError, match=r"at least one whole cell of 2 x 2 patches, but the grid is 7 x 1"):
        run_trunk(vit.blocks, x, "2x2", method="tomesd", grid=(7, 1))
    run_trunk(vit.blocks, x, "2x2", method="tomesd:cell=2x1", grid=(7, 1))


@pytest.mark.parametrize("part", ["attention", "MLP"])
def test_a_plan_that_removes_another_number_is_refused_where_tokens_come_back_at_once(part):
    """Nobody would see it: the block gives all of them back in any case."""

    def plan(seen, r):
        return None if r == 2 else Merge(MergePlan.identity(seen.shape[0], seen.shape[1], seen.device))

    row = Method("own", Around(plan, part), Needs.TOKENS, all_but_one)
    for r in (2, 3):
        with pytest.raises(MethodError, match=f"'own' removed 0 of 16 tokens in block 0, .* remove {r}"):
            run_trunk(ToyViT(depth=1).blocks, torch.randn(1, 16, 32), str(r), method=row)
