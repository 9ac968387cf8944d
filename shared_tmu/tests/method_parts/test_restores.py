"""The table of restores: what each row gives back, and which settings it refuses."""

from __future__ import annotations

import pytest
import torch
from toy_vit import SequentialViT, ToyViT

from shared_tmu import METHODS, patch, run_trunk
from shared_tmu.errors import InputError, PatchError
from shared_tmu.method_parts.restores import RESTORES
from shared_tmu.programs.flags import choose_restore

MIXING = [name for name, row in METHODS.items() if row.mixes]


def run(vit: ToyViT, x: torch.Tensor, restore: str, schedule="5x3", **options):
    return run_trunk(vit.blocks, x, schedule, restore=restore, num_prefix_tokens=1, **options)


@pytest.mark.parametrize("restore", [name for name, row in RESTORES.items() if name != "sparse"])
@pytest.mark.parametrize("method", ["tome", "evit", "mctf"])
@torch.no_grad()
def test_tokens_that_did_not_merge_get_their_own_slot(restore, method):
    vit, x = ToyViT(depth=3).eval(), torch.randn(2, 31, 32)
    full, route = run(vit, x, restore, method=method)
    copied, _ = run(vit, x, "copy", method=method)
    assert full.shape == x.shape
    assert full.isfinite().all()
    slots = route.source_map
    alone = (route.sizes().gather(1, slots.clamp_min(0)) == 1) & (slots >= 0)
    assert 0 < alone.sum() < alone.numel()
    torch.testing.assert_close(full[alone], copied[alone], atol=1e-5, rtol=1e-5)
    if restore != "copy":
        assert not torch.allclose(full, copied, atol=1e-3)


@pytest.mark.parametrize("restore", list(RESTORES))
@torch.no_grad()
def test_nothing_merged_nothing_changed(restore):
    vit, x = ToyViT(depth=3).eval(), torch.randn(2, 31, 32)
    whole = x
    for block in vit.blocks:
        whole = block(whole)
    assert torch.equal(run(vit, x, restore, "off")[0], whole)


@pytest.mark.parametrize("restore", [name for name in RESTORES if name != "sparse"])
@torch.no_grad()
def test_a_patch_restores_as_the_trunk_does(restore):
    vit, x = ToyViT(depth=3).eval(), torch.randn(2, 31, 32)
    full, _ = run(vit, x, restore)
    for build in (ToyViT, SequentialViT):
        model = build(depth=3).eval()
        model.load_state_dict(vit.state_dict())
        with patch(model, "5x3", restore=restore, num_prefix_tokens=1):
            torch.testing.assert_close(model(x), vit.last_norm(full), atol=1e-4, rtol=1e-4)


def test_residual_adds_what_the_group_gained():
    vit, x = ToyViT(depth=1).eval(), torch.randn(1, 10, 32)
    with torch.no_grad():
        full, route = run_trunk(vit.blocks, x, "3x1", restore="residual")
        block = vit.blocks[0]
        before = x + block.attn(block.norm1(x))
        slots, _ = run_trunk(vit.blocks, x, "3x1", unmerge=False)
    for token, slot in enumerate(route.source_map[0].tolist()):
        members = (route.source_map[0] == slot).nonzero().flatten()
        gained = slots[0, slot] - before[0, members].mean(0)
        torch.testing.assert_close(full[0, token], before[0, token] + gained, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", MIXING)
@pytest.mark.parametrize("restore", [name for name, row in RESTORES.items() if row.needs_map])
def test_rows_that_need_a_map(method, restore):
    vit, x = ToyViT(depth=2).eval(), torch.randn(1, 10, 32)
    with pytest.raises(PatchError, match=f"method '{method}' mixes all tokens: use 'copy'"):
        run_trunk(vit.blocks, x, "2x2", method=method, restore=restore)


def test_sparse_is_the_same_by_both_names():
    vit, x = ToyViT(depth=2).eval(), torch.randn(1, 10, 32)
    sparse, _ = run_trunk(vit.blocks, x, "2x2", restore="sparse")
    assert torch.equal(sparse, run_trunk(vit.blocks, x, "2x2", unmerge="sparse")[0])
    with pytest.raises(PatchError, match="method 'dct' mixes all tokens: use 'copy'"):
        run_trunk(vit.blocks, x, "2x2", method="dct", unmerge="sparse")


def test_names_of_a_command_line():
    assert choose_restore(" residual ", unmerge=True) == "residual"
    assert choose_restore("copy", unmerge=False) == "copy"
    with pytest.raises(PatchError, match="no way to restore called 'nearest': use one of copy, "):
        choose_restore("nearest", unmerge=True)
    with pytest.raises(InputError, match=r"--restore residual .* --no-unmerge"):
        choose_restore("residual", unmerge=False)


@pytest.mark.parametrize("unmerge", [False, "sparse"])
@pytest.mark.parametrize(("restore", "said"), [("residual", "restore = 'residual'"), ("none", "no way to")])
def test_nothing_is_restored_where_nothing_comes_back(unmerge, restore, said):
    vit, x = ToyViT(depth=2).eval(), torch.randn(1, 10, 32)
    with pytest.raises(PatchError, match=said):
        run_trunk(vit.blocks, x, "2x2", unmerge=unmerge, restore=restore)
