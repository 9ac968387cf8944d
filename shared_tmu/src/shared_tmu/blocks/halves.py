"""The two halves of a block, attention and MLP, and the check whether a block can be run in halves."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from ..errors import PatchError
from .attention import attention_weights, proportional_attention
from .guard import has_hooks
from .parts import Block, MultiheadBlock, parts_of, replaced_modules
from .positions import Positions

_NEEDED = ("norm1", "attn.proj", "attn.num_heads", "norm2", "mlp")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_BLOCK_MODULES = {"norm1", "attn", "norm2", "mlp", "ls1", "ls2", "drop_path", "drop_path1", "drop_path2"}
_BLOCK_TENSORS = {"gamma_1", "gamma_2"}
_ATTN_MODULES = {
    "qkv", *_PROJECTIONS, "proj", "q_norm", "k_norm", "norm", "attn_drop", "proj_drop", "rel_pos",
}  # fmt: skip
_ATTN_TENSORS = (
    ({"q_bias", "v_bias"}, {"k_bias"}),
    ({"relative_position_bias_table", "relative_position_index"}, set[str]()),
)
"""Tensors that attention may have: only all of a group, and with it others."""


def attention_half(
    block: Block, x: Tensor, size: Tensor | None = None, where: Positions | None = None
) -> tuple[Tensor, Tensor]:
    """`x + attn(norm1(x))`, with layer scale and drop path if the block has them.

    Args:
        block: a block for which `find_misfit` returns None, or its parts.
        x: tokens, `[B, N, C]`.
        size: original tokens per token, `[B, N]`, for proportional attention; None for plain attention.
        where: positions of the tokens, for attention that depends on them.

    Returns:
        Tokens `[B, N, C]` and the keys `[B, H, N, D]`.

    Raises:
        PatchError: the block or its `attn` has hooks, which would not run.
    """
    block = parts_of(block)
    q, k, v = project_qkv(block, block.norm1(x), where)
    return x + attention_branch(block, attend(block, q, k, v, size, where)), k


def project_qkv(
    block: Block, normed: Tensor, where: Positions | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of `norm1(x)` `[B, N, C]`: 3 x `[B, H, N, D]`, the first two rotated."""
    refuse_hooks(block)
    attn = block.attn
    q, k, v = _project(attn, normed)
    q, k = _maybe(attn, "q_norm")(q), _maybe(attn, "k_norm")(k)
    if where is not None:
        prefix, by_halves = getattr(attn, "num_prefix_tokens", 0), getattr(attn, "rotate_half", False)
        q, k = where.rotate(q, prefix, by_halves), where.rotate(k, prefix, by_halves)
    if k.shape[1] != q.shape[1]:  # grouped queries: several heads share a key
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    return q, k, v


def _project(attn: Block, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if getattr(attn, "qkv", None) is None:
        q = attn.q_proj(normed).unflatten(2, (attn.num_heads, -1)).transpose(1, 2)
        k, v = (p(normed).unflatten(2, (-1, q.shape[3])).transpose(1, 2) for p in (attn.k_proj, attn.v_proj))
        return q, k, v
    qkv = attn.qkv(normed)
    if (of_q := getattr(attn, "q_bias", None)) is not None:
        of_k = getattr(attn, "k_bias", None)
        qkv = qkv + torch.cat([of_q, torch.zeros_like(of_q) if of_k is None else of_k, attn.v_bias])
    q, k, v = qkv.unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def attend(
    block: Block,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    size: Tensor | None = None,
    where: Positions | None = None,
) -> Tensor:
    """The block's attention, proportional if there are sizes `[B, N]`; `[B, H, N, D]`."""
    bias = None if where is None else where.logits()
    scale = getattr(block.attn, "scale", None)
    return proportional_attention(q, k, v, size, scale, _dropout(block.attn), bias)


def attention_map(
    block: Block, q: Tensor, k: Tensor, size: Tensor | None = None, where: Positions | None = None
) -> Tensor:
    """The block's attention weights `[B, H, N, N]`, before dropout."""
    bias = None if where is None else where.logits()
    return attention_weights(q, k, size, getattr(block.attn, "scale", None), bias)


def attend_by_map(block: Block, weights: Tensor, v: Tensor) -> Tensor:
    """Values `[B, H, N, D]` averaged by an attention map `[B, H, M, N]`; `[B, H, M, D]`."""
    p = _dropout(block.attn)
    return (functional.dropout(weights, p) if p else weights) @ v


def attention_branch(block: Block, heads: Tensor) -> Tensor:
    """Project the outputs of the heads to the term that attention adds to the tokens: `[B, H, N, D]` to `[B,
    N, C]`.
    """
    attn = block.attn
    out = _maybe(attn, "norm")(heads.transpose(1, 2).flatten(2))
    return _residual(block, _maybe(attn, "proj_drop")(attn.proj(out)), 1)


def refuse_hooks(block: Block) -> None:
    """Refuse hooks that would not run when the two halves of a block run separately.

    Raises:
        PatchError: there are hooks on the block or on its `attn`.
    """
    replaced = replaced_modules(block)
    for place, module in replaced.items():
        if has_hooks(module):
            raise PatchError(
                f"{type(replaced['']).__name__}{place} has hooks, which would not run while tokens merge "
                "inside the block: put them on attn.qkv, attn.proj, norm1, norm2, mlp or the container of "
                "the blocks, or remove them. Wrappers that need hooks on every block (fully_shard) do not "
                "work with merging."
            )


def mlp_half(block: Block, x: Tensor) -> Tensor:
    """`x + mlp(norm2(x))`, with layer scale and drop path if present; `[B, N, C]` to `[B, N, C]`."""
    block = parts_of(block)
    return x + mlp_branch(block, block.norm2(x))


def mlp_branch(block: Block, normed: Tensor) -> Tensor:
    """The term that the MLP adds to the tokens, computed from `norm2(x)`; `[B, N, C]` to `[B, N, C]`."""
    return _residual(block, block.mlp(normed), 2)


def _residual(block: Block, branch: Tensor, half: int) -> Tensor:
    gamma = getattr(block, f"gamma_{half}", None)
    if gamma is not None:
        branch = gamma * branch
    branch = _maybe(block, f"ls{half}")(branch)
    kept: Tensor = _maybe(block, f"drop_path{half}")(_maybe(block, "drop_path")(branch))
    return kept


def _dropout(attn: Block) -> float:
    """Present probability of dropping an attention weight; `attn_drop` is a number, a Dropout or an
    Identity.
    """
    drop = getattr(attn, "attn_drop", None)
    p = drop if isinstance(drop, float) else getattr(drop, "p", 0.0)
    return p if attn.training else 0.0


def _maybe(module: Block, name: str) -> Any:
    """A part of the module, or the identity if it is missing or None."""
    part = getattr(module, name, None)
    return part if callable(part) else _same


def _same(x: Tensor) -> Tensor:
    return x


def find_misfit(block: nn.Module) -> str | None:
    """Why merging inside this block is not possible, or None if it is."""
    parts = parts_of(block)
    missing = [name for name in _NEEDED if not _has(parts, name)]
    if not _has(parts, "attn.qkv") and not all(_has(parts, f"attn.{name}") for name in _PROJECTIONS):
        missing.insert(min(1, len(missing)), "attn.qkv")
    if missing:
        return f"it has no {', '.join(missing)}"
    if isinstance(parts, MultiheadBlock):
        unknown = [*_unknown_parts(block, parts.known, set()), *parts.attn.find_unknown()]
    else:
        attn: Any = block.attn
        unknown = [
            *_unknown_parts(block, _BLOCK_MODULES, _BLOCK_TENSORS),
            *(f"attn.{name}" for name in _unknown_parts(attn, _ATTN_MODULES, _known_tensors(attn))),
            *(["attn.rel_pos"] if _has_no_bias(attn) else []),
        ]
    if unknown:
        return f"it has {', '.join(unknown)}, which merging would ignore"
    return None


def _known_tensors(attn: Any) -> set[str]:
    whole = [(group, more) for group, more in _ATTN_TENSORS if all(_has(attn, name) for name in group)]
    return {name for group, more in whole for name in group | more}


def _has(module: Any, path: str) -> bool:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module is not None


def _unknown_parts(module: nn.Module, modules: set[str], tensors: set[str]) -> list[str]:
    """Direct children and tensors other than those named, except ones without effect."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return [
        *(name for name, _ in own if name not in tensors),
        *(name for name, child in module.named_children() if name not in modules and not _is_inert(child)),
    ]


def _has_no_bias(module: nn.Module) -> bool:
    """Whether an attention's `rel_pos` is something else than timm's, which gives a bias."""
    rel_pos = getattr(module, "rel_pos", None)
    return isinstance(rel_pos, nn.Module) and not hasattr(rel_pos, "get_bias")


def _is_inert(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity | nn.Softmax) or (isinstance(module, nn.Dropout) and module.p == 0)
