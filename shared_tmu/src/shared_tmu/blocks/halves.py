"""The two halves of a block, attention and MLP, and the check whether a block can be run in halves."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as functional
from torch import Tensor, nn

from ..errors import PatchError
from .attention import attention_weights, proportional_attention
from .guard import has_hooks

Block = Any  # an nn.Module; its parts are looked up by name

_NEEDED = ("norm1", "attn.qkv", "attn.proj", "attn.num_heads", "norm2", "mlp")
_BLOCK_MODULES = {"norm1", "attn", "norm2", "mlp", "ls1", "ls2", "drop_path", "drop_path1", "drop_path2"}
_BLOCK_TENSORS = {"gamma_1", "gamma_2"}
_ATTN_MODULES = {"qkv", "proj", "q_norm", "k_norm", "attn_drop", "proj_drop"}


def attention_half(block: Block, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`x + attn(norm1(x))`, with layer scale and drop path if the block has them.

    Args:
        block: a block for which `find_misfit` returns None.
        x: tokens, `[B, N, C]`.
        size: original tokens per token, `[B, N]`, for proportional attention; None for plain attention.

    Returns:
        Tokens `[B, N, C]` and the keys `[B, H, N, D]`.

    Raises:
        PatchError: the block or its `attn` has hooks, which would not run.
    """
    q, k, v = project_qkv(block, block.norm1(x))
    return x + attention_branch(block, attend(block, q, k, v, size)), k


def project_qkv(block: Block, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of `norm1(x)` `[B, N, C]`: 3 x `[B, H, N, D]`."""
    refuse_hooks(block)
    attn = block.attn
    qkv = attn.qkv(normed)
    q, k, v = qkv.unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return _maybe(attn, "q_norm")(q), _maybe(attn, "k_norm")(k), v


def attend(block: Block, q: Tensor, k: Tensor, v: Tensor, size: Tensor | None = None) -> Tensor:
    """The block's attention, proportional if there are sizes `[B, N]`; `[B, H, N, D]`."""
    return proportional_attention(q, k, v, size, getattr(block.attn, "scale", None), _dropout(block.attn))


def attention_map(block: Block, q: Tensor, k: Tensor, size: Tensor | None = None) -> Tensor:
    """The block's attention weights `[B, H, N, N]`, before dropout."""
    return attention_weights(q, k, size, getattr(block.attn, "scale", None))


def attend_by_map(block: Block, weights: Tensor, v: Tensor) -> Tensor:
    """Values `[B, H, N, D]` averaged by an attention map `[B, H, M, N]`; `[B, H, M, D]`."""
    p = _dropout(block.attn)
    return (functional.dropout(weights, p) if p else weights) @ v


def attention_branch(block: Block, heads: Tensor) -> Tensor:
    """Project the outputs of the heads to the term that attention adds to the tokens: `[B, H, N, D]` to `[B,
    N, C]`.
    """
    attn = block.attn
    out = _maybe(attn, "proj_drop")(attn.proj(heads.transpose(1, 2).flatten(2)))
    return _residual(block, out, 1)


def refuse_hooks(block: Block) -> None:
    """Refuse hooks that would not run when the two halves of a block run separately.

    Raises:
        PatchError: there are hooks on the block or on its `attn`.
    """
    for place, module in (("", block), (".attn", block.attn)):
        if has_hooks(module):
            raise PatchError(
                f"{type(block).__name__}{place} has hooks, which would not run while tokens merge inside the "
                "block: put them on attn.qkv, attn.proj, norm1, norm2, mlp or the container of the blocks, "
                "or remove them. Wrappers that need hooks on every block (fully_shard) do not work with "
                "merging."
            )


def mlp_half(block: Block, x: Tensor) -> Tensor:
    """`x + mlp(norm2(x))`, with layer scale and drop path if present; `[B, N, C]` to `[B, N, C]`."""
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
    missing = [name for name in _NEEDED if not _has(block, name)]
    if missing:
        return f"it has no {', '.join(missing)}"
    attn: Any = block.attn
    unknown = [
        *_unknown_parts(block, _BLOCK_MODULES, _BLOCK_TENSORS),
        *(f"attn.{name}" for name in _unknown_parts(attn, _ATTN_MODULES, set())),
    ]
    if unknown:
        return f"it has {', '.join(unknown)}, which merging would ignore"
    return None


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


def _is_inert(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity | nn.Softmax) or (isinstance(module, nn.Dropout) and module.p == 0)
