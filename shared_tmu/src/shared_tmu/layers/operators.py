"""The merge operator and its variants: several neighbouring blocks become one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from shared_tmu.errors import LayersError

Coefficients = Callable[[int], list[float]]
"""Maps the number n of blocks to the factors of their tensors, first block first; the factors sum to 1."""


def _eq4(count: int) -> list[float]:
    """theta_1 + sum over k of (theta_k - theta_1), the paper's equation 4."""
    return [1.0] if count == 1 else [2.0 - count, *[1.0] * (count - 1)]


def _last(count: int) -> list[float]:
    return [*[0.0] * (count - 1), 1.0]


def _first(count: int) -> list[float]:
    return [1.0, *[0.0] * (count - 1)]


def _mean(count: int) -> list[float]:
    return [1.0 / count] * count


VARIANTS: Mapping[str, tuple[Coefficients, Coefficients]] = MappingProxyType(
    {
        "eq4": (_eq4, _eq4),
        "last": (_last, _last),
        "slm": (_last, _first),
        "mean": (_mean, _mean),
        "drop": (_first, _first),
    }
)
"""Factors of the tensors of linear layers, and of all others (norms, layer scale).

`eq4` is the paper's equation on every tensor. The programs on which it is based (LaCo, SLM) subtract a
running sum instead of the first block, so that only the last block remains: `last` does this with every
tensor, `slm` only with the matrices, and keeps the first block's norms. `mean` averages. `drop` keeps the
first block.
"""


@torch.no_grad()
def merge_blocks(blocks: Sequence[nn.Module], variant: str = "eq4") -> nn.Module:
    """Make one block from several neighbouring blocks of the same structure.

    Args:
        blocks: at least one block, in order; they are not changed.
        variant: name in `VARIANTS`. For two blocks `eq4` is exactly the second one.

    Returns:
        A new block, in the mode, dtype and place of the first. Floating-point parameters and buffers are
        combined in float64; others are the first block's.

    Raises:
        LayersError: there is no such variant or no block, or the blocks have different structures.
    """
    if variant not in VARIANTS:
        raise LayersError(f"there is no variant {variant!r} of layer merging: use {', '.join(VARIANTS)}.")
    if not blocks:
        raise LayersError("no blocks to merge: give one or more.")
    states = [block.state_dict() for block in blocks]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    for number, shape in enumerate(shapes[1:], start=1):
        if shape != shapes[0]:
            names = sorted(name for name, size in {**shape, **shapes[0]}.items() if shape.get(name) != size)
            raise LayersError(
                f"block {number} of {len(blocks)} differs from the first in {', '.join(names[:3])}: only "
                "blocks of the same structure can be merged."
            )
    merged = copy.deepcopy(blocks[0])
    matrices, others = (factors(len(blocks)) for factors in VARIANTS[variant])
    of_linear = _linear_tensors(merged)
    for name, tensor in merged.state_dict().items():
        if tensor.is_floating_point():
            factors = matrices if name in of_linear else others
            tensor.copy_(_combine([state[name] for state in states], factors))
    return merged


def _linear_tensors(block: nn.Module) -> set[str]:
    """Names of the tensors of linear layers."""
    return {
        f"{path}.{name}" if path else name
        for path, module in block.named_modules()
        if isinstance(module, nn.Linear)
        for name in module.state_dict()
    }


def _combine(tensors: Sequence[Tensor], factors: Sequence[float]) -> Tensor:
    terms = [tensor.double() * factor for tensor, factor in zip(tensors, factors, strict=True) if factor]
    return torch.stack(terms).sum(0).to(tensors[0].dtype)
