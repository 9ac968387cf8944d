"""The table of restores, and what a row that asks for history is given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toy_vit import SequentialViT, ToyViT

from shared_tmu import patch, run_trunk, unmerge
from shared_tmu.errors import PatchError
from shared_tmu.method_parts.restores import RESTORES, Restore


def residual(x: Tensor, route, history) -> Tensor:
    """Each token keeps its own features and receives what its group gained, reduction by reduction."""
    for applied in reversed(history):
        x = applied.before + unmerge(x - applied.after, applied.reduction.route)
    return x


@pytest.fixture
def with_residual(monkeypatch):
    rows = {**RESTORES, "residual": Restore("residual", residual, needs_history=True)}
    monkeypatch.setattr("shared_tmu.method_parts.restores.RESTORES", rows)


@pytest.mark.parametrize("method", ["tome", "evit", "dct"])
@pytest.mark.usefixtures("with_residual")
@torch.no_grad()
def test_a_restore_with_history(method):
    vit, x = ToyViT(depth=3).eval(), torch.randn(2, 30, 32)
    full, route = run_trunk(vit.blocks, x, "5x3", method=method, restore="residual", num_prefix_tokens=1)
    copied, _ = run_trunk(vit.blocks, x, "5x3", method=method, num_prefix_tokens=1)
    assert full.shape == x.shape
    assert not torch.allclose(full, copied, atol=1e-3)
    if method == "tome":
        alone = route.sizes().gather(1, route.source_map) == 1
        torch.testing.assert_close(full[alone], copied[alone], atol=1e-5, rtol=1e-5)
    for build in (ToyViT, SequentialViT):
        model = build(depth=3).eval()
        model.load_state_dict(vit.state_dict())
        with patch(model, "5x3", method, restore="residual", num_prefix_tokens=1):
            torch.testing.assert_close(model(x), vit.last_norm(full), atol=1e-4, rtol=1e-4)


def test_rows_that_are_none_and_methods_that_lack_a_map():
    vit, x = ToyViT(depth=2).eval(), torch.randn(1, 10, 32)
    with pytest.raises(PatchError, match="no way to restore called 'nearest': use one of copy, sparse"):
        run_trunk(vit.blocks, x, "2x2", restore="nearest")
    for options in ({"restore": "sparse"}, {"unmerge": "sparse"}):
        with pytest.raises(PatchError, match="method 'dct' mixes all tokens: use 'copy'"):
            run_trunk(vit.blocks, x, "2x2", method="dct", **options)
    sparse, _ = run_trunk(vit.blocks, x, "2x2", restore="sparse")
    assert torch.equal(sparse, run_trunk(vit.blocks, x, "2x2", unmerge="sparse")[0])
