"""Refuses models that cannot be patched, before anything is changed."""

from __future__ import annotations

from torch import nn

from ..blocks.parts import parts_of
from ..blocks.positions import has_own_bias
from ..blocks.verification import BlockCheck
from ..errors import PatchError
from ..method_parts.read_masks import ReadMask
from ..trunk import Mask, TrunkSettings
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


def refuse_unplaced(settings: TrunkSettings, check: BlockCheck, found: FoundTrunk, mask: Mask | None) -> None:
    """Refuse options that do not work where attention depends on the positions of tokens.

    Raises:
        PatchError: it does, and such an option is set.
    """
    if not check.given and not any(has_own_bias(parts_of(block).attn) for block in found.blocks):
        return
    method, reason = settings.method, None
    if method.mixes:
        reason = f"method {method.name!r} mixes all tokens, and a mixture has no position"
    elif method.learn is not None:
        reason = f"method {method.name!r} learns from attention without positions"
    elif settings.protect == "last":
        reason = "protect = 'last' changes the order of tokens"
    elif isinstance(mask, ReadMask):
        reason = "a mask that is read from the tokens compares them without positions"
    if reason is not None:
        raise PatchError(
            f"attention in {type(found.owner).__name__} depends on the positions of tokens "
            f"({', '.join(check.given) or 'a bias of its own'}), but {reason}: use another method or option."
        )
