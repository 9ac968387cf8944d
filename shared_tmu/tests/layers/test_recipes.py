"""Recipes of merged layers: read back, refused for another trunk; shorter trunks for a while."""

import json

import pytest
import torch
from toy_vit import ToyViT

from shared_tmu import patch
from shared_tmu.errors import LayersError
from shared_tmu.layers import (
    METADATA,
    BlocksOf,
    LayerRecipe,
    forget_shortened,
    merge_layers,
    read_recipe,
    shortened,
    singles,
)

RECIPE = LayerRecipe(((0, 0), (1, 3), (4, 4), (5, 6)), "mean", "abc")


def test_a_recipe_is_read_back() -> None:
    assert LayerRecipe.from_dict(json.loads(json.dumps(RECIPE.to_dict())), "it") == RECIPE
    assert read_recipe({METADATA: json.dumps({**RECIPE.to_dict(), "more": 1})}, "it") == RECIPE
    assert read_recipe({}, "it") is None
    assert RECIPE.depth == 4
    other = LayerRecipe(((0, 1), (2, 3), (4, 4), (5, 6)), "mean", "abc")
    assert RECIPE.name != other.name
    assert RECIPE.name.startswith("4-layers-")
    assert str(RECIPE) == "4 layers (1-3, 5-6; mean)"


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        "{}",
        '{"partition": 3, "variant": "eq4", "original": ""}',
        '{"partition": [], "variant": "eq4", "original": ""}',
        '{"partition": [[0, 1], [3, 4]], "variant": "eq4", "original": ""}',
        '{"partition": [[0, 1]], "variant": "best", "original": ""}',
        '{"partition": [[0, 1]], "variant": ["eq4"], "original": ""}',
        '{"partition": [[0, 1]], "variant": {}, "original": ""}',
        '{"partition": [[0, 1e999]], "variant": "eq4", "original": ""}',
        '{"partition": [[0, 1], [2, 3.5]], "variant": "eq4", "original": ""}',
        '{"partition": ["01"], "variant": "eq4", "original": ""}',
        '{"partition": [[0, true]], "variant": "eq4", "original": ""}',
        "[" * 100_000,
    ],
)
def test_what_is_no_recipe_is_refused_by_name(content: str) -> None:
    with pytest.raises(LayersError):
        read_recipe({METADATA: content}, "it.safetensors")


def test_another_trunk_is_refused() -> None:
    RECIPE.require_original("abc", 7, "it")
    with pytest.raises(LayersError, match="other weights"):
        RECIPE.require_original("abd", 7, "it")
    with pytest.raises(LayersError, match="other weights"):  # of which another depth is only a sign
        RECIPE.require_original("abd", 8, "it")
    with pytest.raises(LayersError, match="blocks 0 to 7"):
        RECIPE.require_original("abc", 8, "it")


@torch.no_grad()
def test_a_shorter_trunk_is_that_of_a_shorter_model_and_the_own_one_comes_back() -> None:
    torch.manual_seed(0)
    vit = ToyViT(depth=7).eval()
    place, tokens = BlocksOf(vit, "blocks"), torch.randn(2, 46, 32)
    own, blocks = vit.blocks, list(vit.blocks)
    want, before = merge_layers(place, RECIPE.partition, "mean"), vit(tokens)
    for _ in range(2):
        with shortened(place, RECIPE):
            assert len(vit.blocks) == 4
            assert vit.blocks[0] is blocks[0]
            torch.testing.assert_close(vit(tokens), want(tokens))
            with patch(vit, "4x4", num_prefix_tokens=0), patch(want, "4x4", num_prefix_tokens=0):
                torch.testing.assert_close(vit(tokens), want(tokens))
        assert vit.blocks is own
        assert torch.equal(vit(tokens), before)
    with shortened(place, None):
        assert vit.blocks is own
    with pytest.raises(RuntimeError, match="stop"), shortened(place, RECIPE):
        raise RuntimeError("stop")
    assert vit.blocks is own
    with shortened(place, RECIPE):
        first = vit.blocks[1]
    for block in blocks:
        block.mlp.fc1.weight.data = block.mlp.fc1.weight.data.clone()  # other weights now, for all it knows
    with shortened(place, RECIPE):
        assert vit.blocks[1] is not first
    with shortened(place, RECIPE):
        second = vit.blocks[1]
    blocks[2].norm1.bias.add_(1.0)  # in place, as by an optimizer or load_state_dict
    want = merge_layers(place, RECIPE.partition, "mean")
    with shortened(place, RECIPE):
        assert vit.blocks[1] is not second
        torch.testing.assert_close(vit(tokens), want(tokens))
    blocks[2].norm1.bias.data.add_(1.0)  # which no version of the tensor tells
    forget_shortened(place)
    want = merge_layers(place, RECIPE.partition, "mean")
    with shortened(place, RECIPE):
        torch.testing.assert_close(vit(tokens), want(tokens))
    with pytest.raises(LayersError), shortened(place, LayerRecipe(singles(3), "eq4", "abc")):
        pass
    assert vit.blocks is own


@torch.no_grad()
def test_layers_of_a_patched_model_are_not_merged_and_it_stays_as_it_is() -> None:
    vit, tokens = ToyViT(depth=7).eval(), torch.randn(2, 46, 32)
    place = BlocksOf(vit, "blocks")
    with patch(vit, "4x7", num_prefix_tokens=0):
        before = vit(tokens)
        told = r"patched with '4x7'.*handle.remove\(\), first; merge layers, then patch"
        with pytest.raises(LayersError, match=told), shortened(place, RECIPE):
            pass
        with pytest.raises(LayersError, match=told):
            merge_layers(place, RECIPE.partition, "mean")
        with shortened(place, None):  # which asks for nothing
            assert torch.equal(vit(tokens), before)
    want = merge_layers(place, RECIPE.partition, "mean")(tokens)
    with patch(vit, "off", num_prefix_tokens=0), shortened(place, RECIPE):
        torch.testing.assert_close(vit(tokens), want)
