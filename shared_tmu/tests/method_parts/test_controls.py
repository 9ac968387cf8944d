"""What merging is compared with: the sparse unmerge, and protecting the tokens at the end."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_vit import ToyViT

from shared_tmu import MergePlan, patch, run_trunk, unmerge
from shared_tmu.errors import PatchError
from shared_tmu.method_parts.controls import unmerge_sparse


@given(st.integers(1, 3), st.integers(2, 12), st.integers(1, 5), st.integers(0, 999))
def test_sparse_unmerging_keeps_one_copy_of_every_slot(
    batch: int, tokens: int, slots: int, seed: int
) -> None:
    torch.manual_seed(seed)
    slots = min(slots, tokens)
    rows = [torch.cat([torch.arange(slots), torch.randint(slots, (tokens - slots,))]) for _ in range(batch)]
    plan = MergePlan(torch.stack([row[torch.randperm(tokens)] for row in rows]), slots)
    x = 1 + torch.rand(batch, slots, 3)
    sparse, full = unmerge_sparse(x, plan), unmerge(x, plan)
    for image in range(batch):
        seen = set()
        for token in range(tokens):
            slot = int(plan.source_map[image, token])
            want = torch.zeros(3) if slot in seen else full[image, token]
            assert torch.equal(sparse[image, token], want)
            seen.add(slot)


def test_sparse_unmerging_without_a_merge_changes_nothing() -> None:
    x = torch.randn(2, 5, 3)
    assert torch.equal(unmerge_sparse(x, MergePlan.identity(2, 5)), x)


def test_a_sparse_grid_after_a_trunk(vit: ToyViT) -> None:
    x = torch.randn(2, 40, vit.blocks[0].attn.qkv.in_features)
    with torch.no_grad():
        out, plan = run_trunk(vit.blocks, x, "4x2", num_prefix_tokens=18, unmerge="sparse")
        full, _ = run_trunk(vit.blocks, x, "4x2", num_prefix_tokens=18)
    empty = (out == 0).all(-1)
    assert plan.num_slots == 32
    assert empty.sum(1).tolist() == [8, 8]  # as many rows are empty as tokens were removed
    assert torch.equal(out[~empty], full[~empty])
    assert not empty[:, :18].any()


@pytest.mark.parametrize("method", ["tome", "random"])
def test_protecting_the_last_merges_those_in_front(vit: ToyViT, method: str) -> None:
    x = torch.randn(2, 50, vit.blocks[0].attn.qkv.in_features)
    with torch.no_grad():
        got, plan = run_trunk(vit.blocks, x, "6x3", method=method, num_prefix_tokens=18, protect="last")
        turned, first = run_trunk(vit.blocks, x.roll(18, 1), "6x3", method=method, num_prefix_tokens=18)
    torch.testing.assert_close(got, turned.roll(-18, 1))
    slots = plan.num_slots
    assert slots == first.num_slots == 32
    assert torch.equal(plan.source_map[:, -18:], torch.arange(slots - 18, slots).expand(2, -1))
    assert (plan.source_map[:, :-18] < slots - 18).all()
    assert (plan.sizes()[:, :18] > 1).any()  # tokens in front were merged
    plan.check()


@pytest.mark.parametrize("unmerging", [False, "sparse"])
def test_both_controls_together(vit: ToyViT, unmerging) -> None:
    x = torch.randn(2, 50, vit.blocks[0].attn.qkv.in_features)
    with torch.no_grad():
        short, plan = run_trunk(vit.blocks, x, "6x3", num_prefix_tokens=18, protect="last", unmerge=unmerging)
        full, _ = run_trunk(vit.blocks, x, "6x3", num_prefix_tokens=18, protect="last")
    if unmerging == "sparse":
        kept = ~(short == 0).all(-1)
        assert kept.sum(1).tolist() == [32, 32]
        torch.testing.assert_close(short[kept], full[kept])
    else:
        torch.testing.assert_close(unmerge(short, plan), full)


def test_nothing_to_protect_and_nothing_to_merge(vit: ToyViT) -> None:
    x = torch.randn(1, 30, vit.blocks[0].attn.qkv.in_features)
    with torch.no_grad():
        last, _ = run_trunk(vit.blocks, x, "off", num_prefix_tokens=18, protect="last")
        first, _ = run_trunk(vit.blocks, x, "off", num_prefix_tokens=18)
        assert torch.equal(last, first)
    with pytest.raises(PatchError, match="no effect without prefix tokens"):
        run_trunk(vit.blocks, x, "4x2", protect="last")


def test_other_words_are_refused(vit: ToyViT) -> None:
    with pytest.raises(PatchError, match="protect = 'middle': use 'first', or 'last'"):
        patch(vit, "4x2", protect="middle")  # type: ignore[arg-type]
    with pytest.raises(PatchError, match="unmerge = 'nearest': use True, False or 'sparse'"):
        patch(vit, "4x2", unmerge="nearest")  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", [3, 18])
@torch.no_grad()
def test_a_function_finds_the_same_mask_whichever_tokens_are_protected(prefix):
    vit, x = ToyViT(depth=2).eval(), torch.randn(2, prefix + 40, 32)
    flags = torch.zeros(2, prefix + 40, dtype=torch.bool)
    flags[:, prefix + 5 : prefix + 25] = True
    x[..., 0] = 5.0 * flags

    def read(tokens):
        assert torch.equal(tokens, x)
        return tokens[..., 0] > 2

    for protect in ("first", "last"):
        options = {"num_prefix_tokens": prefix, "protect": protect}
        want, plan = run_trunk(vit.blocks, x, "6x2", mask=flags, **options)
        got, again = run_trunk(vit.blocks, x, "6x2", mask=read, **options)
        assert torch.equal(again.source_map, plan.source_map)
        assert torch.equal(got, want)
