"""Methods that read the grid of the patches: one that is not the tokens' is refused or told, not ignored."""

from __future__ import annotations

import pytest
import torch
from toy_vit import ToyViT

from shared_tmu import METHODS, patch
from shared_tmu.errors import MethodError
from shared_tmu.method_parts.seen import Needs

OF_GRID = [*(name for name, row in METHODS.items() if Needs.GRID in row.needs), "pool"]
EVERY = pytest.mark.parametrize("method", OF_GRID)


@pytest.fixture
def model():
    """A ViT that says that its pictures have 4 x 4 patches."""
    vit = ToyViT(depth=3).eval()
    vit.grid = (4, 4)
    return vit


@EVERY
@torch.no_grad()
def test_a_grid_of_another_number_of_patches_is_refused(method, model):
    with patch(model, "3x2", method):
        model(torch.randn(1, 16, 32))
        with pytest.raises(MethodError, match=f"'{method}' was given a grid of 4 x 4 for 32 patches: pass"):
            model(torch.randn(1, 32, 32))
    with (
        patch(model, "3x2", method, grid=(10, 10)),
        pytest.raises(MethodError, match="a grid of 10 x 10 for 16 patches"),
    ):
        model(torch.randn(1, 16, 32))


@EVERY
@torch.no_grad()
def test_a_grid_that_is_not_known_is_asked_for(method):
    model, x = ToyViT(depth=3).eval(), torch.randn(1, 16, 32)
    with patch(model, "3x2", method):
        if method == "pool":  # a row of tokens
            model(x)
            return
        with pytest.raises(MethodError, match=r"needs the grid of the 16 patches: pass grid=\(rows, col"):
            model(x)


@EVERY
def test_a_vit_for_pictures_of_any_shape_warns(method, model, caplog):
    patch(model, "3x2", method).remove()
    assert not caplog.text
    model.dynamic_img_size = True
    patch(model, "3x2", method, grid=(2, 8)).remove()
    patch(model, "3x2").remove()
    assert not caplog.text
    patch(model, "3x2", method).remove()
    assert f"any size, but method '{method}' takes all of them for 4 x 4 patches: pass grid=" in caplog.text
