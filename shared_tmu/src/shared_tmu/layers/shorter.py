"""Run a model with merged layers for a while, without a second model: blocks that did not merge are
shared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from .operators import merge_blocks
from .partition import check_partition
from .recipe import LayerRecipe
from .surgery import BlocksOf

_State = tuple[Any, ...]
_BUILT: WeakKeyDictionary[nn.Module, dict[LayerRecipe, tuple[_State, nn.Module]]] = WeakKeyDictionary()
"""By the container of the unmerged blocks: shorter ones that were made of it, and what it held then."""


@contextmanager
def shortened(place: BlocksOf, recipe: LayerRecipe | None) -> Iterator[None]:
    """Let the model run with one block per window inside the `with` block; its own blocks then come back.

    Windows are merged in the number format and on the device that the model has now, once for each of them,
    and again when weights have changed. PyTorch counts no change through `weight.data`, and none of tensors
    made in inference mode: call `forget_shortened` after those. Not for two threads that run one model.

    Args:
        place: the model and where its blocks are.
        recipe: None leaves the model alone.

    Raises:
        LayersError: not a partition of these blocks, or the model is patched.
    """
    if recipe is None:
        yield
        return
    *owners, name = place.path.split(".")
    owner = place.model.get_submodule(".".join(owners))
    original = owner._modules[name]
    assert original is not None
    owner._modules[name] = _built(place, original, recipe)
    try:
        yield
    finally:
        owner._modules[name] = original


def forget_shortened(place: BlocksOf) -> None:
    """Let the next `shortened` merge the windows of these blocks again."""
    *owners, name = place.path.split(".")
    container = place.model.get_submodule(".".join(owners))._modules[name]
    if container is not None:
        _BUILT.pop(container, None)


def _built(place: BlocksOf, original: nn.Module, recipe: LayerRecipe) -> nn.Module:
    blocks = place.blocks
    check_partition(recipe.partition, len(blocks))
    state = tuple(_state_of(tensor) for tensor in (*original.parameters(), *original.buffers()))
    known = _BUILT.setdefault(original, {})
    if recipe not in known or known[recipe][0] != state:
        merged = [
            blocks[first] if first == last else merge_blocks(blocks[first : last + 1], recipe.variant)
            for first, last in recipe.partition
        ]
        known[recipe] = state, place.container(merged)
    return known[recipe][1].train(original.training)


def _state_of(tensor: Tensor) -> tuple[Any, ...]:
    """Tells whether a tensor was replaced, moved, cast or changed in place, of which inference tensors keep
    no count."""
    version = 0 if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), tensor.dtype, tensor.device, version
