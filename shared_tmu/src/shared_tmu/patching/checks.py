"""Refuses models that cannot be patched, before anything is changed."""

from __future__ import annotations

from torch import nn

from ..errors import PatchError
from .arrival import Arrival
from .container import MergedBlocks
from .search import FoundTrunk


def refuse_wrapped(model: nn.Module) -> None:
    """Refuse models that are already patched, or that copy themselves.

    Raises:
        PatchError: it is such a model.
    """
    for module in model.modules():
        if isinstance(module, MergedBlocks):
            raise PatchError(
                f"this ViT is already patched with '{module.settings.schedule}'. "
                "Leave that `with` block, or call handle.remove(), first."
            )
        if isinstance(module, nn.DataParallel):
            raise PatchError(
                "nn.DataParallel copies its model at every call: patch inside it, patch(model.module, ...)."
            )


def refuse_arguments(found: FoundTrunk, arrival: Arrival | None) -> None:
    """Refuse a ViT that gives its blocks more than tokens.

    Raises:
        PatchError: it does; the message names the arguments.
    """
    if arrival is not None and arrival.others:
        raise PatchError(
            f"{type(found.owner).__name__} gives its blocks {', '.join(arrival.others)} besides tokens; "
            "these values fit only tokens that have not merged, and merging would ignore them: this model "
            "cannot be patched."
        )
