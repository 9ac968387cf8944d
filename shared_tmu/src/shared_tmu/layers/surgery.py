"""Gives a model other blocks: for a trial that shares the original's weights, or as a new model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from shared_tmu.errors import LayersError
from shared_tmu.layers.operators import merge_blocks
from shared_tmu.layers.partition import Partition, check_partition
from shared_tmu.patching.container import MergedBlocks

_DROPS = ("drop_path", "drop_path1", "drop_path2")
"""Names of stochastic depth in a block: one module, or one for each half."""


@dataclass(frozen=True)
class BlocksOf:
    """The place of a model's blocks.

    Attributes:
        model: any module that contains them.
        path: path of the ModuleList or Sequential that holds them, e.g. `"backbone.blocks"`.
    """

    model: nn.Module
    path: str

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks, in order.

        Raises:
            LayersError: there are none, or the model is patched, so that each also merges tokens.
        """
        container = self._found
        if isinstance(container, MergedBlocks) and not container.settings.schedule.is_off:
            raise LayersError(
                f"this ViT is patched with '{container.settings.schedule}', and its layers cannot be merged "
                "then: leave that `with` block, or call handle.remove(), first; merge layers, then patch."
            )
        return list(container)

    @property
    def _found(self) -> nn.ModuleList | nn.Sequential:
        """The container that is there, which may be that of a patch."""
        try:
            found = self.model.get_submodule(self.path)
        except AttributeError:
            found = None
        if not isinstance(found, nn.ModuleList | nn.Sequential):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise LayersError(
                f"blocks of {type(self.model).__name__} are looked for at {self.path!r}, and {what} is "
                "there: give the path of a ModuleList or Sequential."
            )
        return found

    def replaced(self, blocks: Sequence[nn.Module]) -> nn.Module:
        """The model with other blocks; everything else is shared with the original, which is not changed."""
        *owners, name = self.path.split(".")
        clone = _shallow(self.model)
        owner = clone
        for part in owners:
            owner._modules[part] = owner = _shallow(owner.get_submodule(part))
        owner._modules[name] = self.container(blocks)
        return clone

    def container(self, blocks: Sequence[nn.Module]) -> nn.Module:
        """Other blocks in a container of the kind, and in the mode, of the one that is there."""
        own: nn.Module = self._found
        own = own.unmerged() if isinstance(own, MergedBlocks) else own
        other = nn.Sequential(*blocks) if isinstance(own, nn.Sequential) else nn.ModuleList(blocks)
        return other.train(own.training)


def merge_layers(place: BlocksOf, partition: Partition, variant: str = "eq4") -> nn.Module:
    """An ordinary model with one block per window; the original is not changed.

    Rates of stochastic depth depend on the position in the trunk, not on the block: they are distributed
    again over the remaining positions, from the first block's rate to the last block's.

    Args:
        place: the model and the place of its blocks.
        partition: partition of the blocks.
        variant: see `merge_blocks`.

    Raises:
        LayersError: it is not a partition of these blocks, there is no such variant, blocks have different
            structures, or the model is patched.
    """
    blocks = place.blocks
    check_partition(partition, len(blocks))
    merged = [merge_blocks(blocks[first : last + 1], variant) for first, last in partition]
    model = copy.deepcopy(place.replaced(merged))
    _spread_drop_path(BlocksOf(model, place.path).blocks, _drop_rates(blocks))
    return model


def _shallow(module: nn.Module) -> nn.Module:
    """A module with the same parts in its own dictionary."""
    clone = copy.copy(module)
    clone.__dict__["_modules"] = dict(module._modules)
    return clone


def _drop_rates(blocks: Sequence[nn.Module]) -> list[float]:
    return [
        max(float(getattr(getattr(block, name, None), "drop_prob", 0.0) or 0.0) for name in _DROPS)
        for block in blocks
    ]


def _spread_drop_path(blocks: Sequence[nn.Module], rates: Sequence[float]) -> None:
    """Give the blocks with stochastic depth rates from the first previous one to the last, linearly."""
    for place, block in enumerate(blocks):
        for name in _DROPS:
            drop: Any = getattr(block, name, None)
            if hasattr(drop, "drop_prob"):
                drop.drop_prob = rates[0] + (rates[-1] - rates[0]) * place / max(len(blocks) - 1, 1)
