"""Finds parts of a block that mix tokens, besides attention.

Such a part agrees with itself as long as nothing merges; on fewer tokens it would mix others than it was
trained to mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .halves import project_qkv
from .parts import Block, parts_of

_OF_BLOCK = ("ls1", "ls2", "drop_path", "drop_path1", "drop_path2")
_OF_ATTENTION = ("qkv", "q_proj", "k_proj", "v_proj", "proj_drop")

Agree = Callable[[Tensor, Tensor, Tensor], bool]


def find_mixing(block: Block, x: Tensor, agree: Agree) -> str | None:
    """Name of a part whose output for a token depends on other tokens; None if there is none.

    Every part is run on all tokens, and on half of them in another order.

    Args:
        block: a block in eval mode whose halves can be run.
        x: tokens, `[B, N, C]`.
        agree: whether two outputs are equal up to rounding of what tells tokens apart, their difference to a
            third tensor.
    """
    draws = torch.Generator("cpu").manual_seed(3)
    chosen = torch.randperm(x.shape[1], generator=draws, device="cpu")[: (x.shape[1] + 1) // 2].to(x.device)
    for name, part, tokens in _list_parts(parts_of(block), x):
        if not callable(part):
            continue
        want = part(tokens.clone()).index_select(-2, chosen)
        try:
            got = part(tokens.index_select(-2, chosen))
        except (AssertionError, IndexError, RuntimeError, TypeError, ValueError):
            return name  # made for one number of tokens
        if want.shape != got.shape or not agree(want, got, want.mean(-2, keepdim=True)):
            return name
    return None


def _list_parts(block: Block, x: Tensor) -> Iterator[tuple[str, Any, Tensor]]:
    """Every part, None where it is missing, with an input of the kind that it gets, `[..., N, D]`."""
    attn, normed = block.attn, block.norm1(x)
    yield "norm1", block.norm1, x
    for name in _OF_ATTENTION:
        yield f"attn.{name}", getattr(attn, name, None), normed
    heads = project_qkv(block, normed)[2]
    yield "attn.q_norm", getattr(attn, "q_norm", None), heads
    yield "attn.k_norm", getattr(attn, "k_norm", None), heads
    heads = heads.transpose(1, 2).flatten(2)
    yield "attn.norm", getattr(attn, "norm", None), heads
    yield "attn.proj", attn.proj, heads
    yield "norm2", block.norm2, x
    yield "mlp", block.mlp, block.norm2(x)
    for name in _OF_BLOCK:
        yield name, getattr(block, name, None), x
