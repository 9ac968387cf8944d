"""Compares a block with its two halves in training mode, from the same random numbers.

Merging knows the dropout of `attn_drop`, `proj_drop` and `drop_path`. One that a block's own forward
computes, `functional.dropout` with `self.training`, exists only in training mode: merging would leave it out.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PatchError
from .parts import Block, parts_of, replaced_modules
from .probing import leaving_no_trace

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingNote:
    """What a block does in training mode that merging does not.

    Attributes:
        kind: name of its class.
        is_certain: False if merging draws random numbers, too, and so may do the same in another order.
    """

    kind: str
    is_certain: bool

    def tell(self, number: int, block: nn.Module) -> None:
        """Refuse the block, or warn of it, if it is in training mode now.

        Raises:
            PatchError: merging would certainly compute something else.
        """
        if not any(module.training for module in replaced_modules(parts_of(block)).values()):
            return
        if self.is_certain:
            raise PatchError(
                f"block {number}: in training mode, {self.kind} computes something besides its parts, such "
                "as functional.dropout, which merging would leave out: merge in eval mode, or put dropout "
                "into modules named attn_drop, proj_drop or drop_path."
            )
        if not torch.compiler.is_compiling():  # a log call would break the graph
            _warn(self.kind)


@lru_cache(maxsize=256)
def _warn(kind: str) -> None:
    _log.warning(
        "in training mode, %s draws other random numbers than merging does: check that it drops values only "
        "by its modules attn_drop, proj_drop and drop_path, because merging leaves out any other dropout.",
        kind,
    )


def compare_in_training(
    block: Block, x: Tensor, own: Callable[[], Any], halves: Callable[[], Any], agree: Callable[..., bool]
) -> TrainingNote | None:
    """Run a block inside `leaving_no_trace` in training mode, both ways; None if they do the same.

    Args:
        block: a block that agrees in eval mode.
        x: its tokens, `[B, N, C]`.
        own: runs its own forward on them.
        halves: runs its two halves on them.
        agree: whether two outputs are equal up to rounding.
    """
    (want, drawn), (got, drawn_by_halves) = _run(block, x, own), _run(block, x, halves)
    if want is None or got is None:  # it cannot be trained on tokens alone
        return None
    is_equal = isinstance(want, Tensor) and agree(want, got)
    if is_equal and drawn == drawn_by_halves:
        return None
    return TrainingNote(type(block).__name__, is_certain=not is_equal and not drawn_by_halves)


def _run(block: nn.Module, x: Tensor, function: Callable[[], Any]) -> tuple[Any, bytes]:
    """What a function returns in training mode, None if it fails; and the state of the random numbers after
    it, empty if it has drawn none.
    """
    with leaving_no_trace(block), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in block.modules():
            part.__dict__["training"] = True
        draws = torch.cuda.default_generators[x.device.index] if x.is_cuda else torch.default_generator
        draws.manual_seed(0)
        before = draws.get_state()
        try:
            out = function()
        except Exception:  # a block's own code may raise any error in this mode
            return None, b""
        after = draws.get_state()
        return out, b"" if torch.equal(before, after) else after.numpy().tobytes()
