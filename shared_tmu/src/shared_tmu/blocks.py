"""Transformer blocks, recognised by what they have: the two halves around the place to merge.

A block is taken if it has `norm1`, `attn.qkv`, `attn.proj`, `attn.num_heads`, `norm2` and `mlp`. Used where
present: `ls1`/`ls2` or `gamma_1`/`gamma_2` (layer scale), `drop_path` or `drop_path1`/`drop_path2`,
`attn.scale`, `attn.q_norm`/`attn.k_norm`, `attn.attn_drop`, `attn.proj_drop`. Anything else with an effect is
refused, never ignored.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .attention import proportional_attention
from .errors import PatchError

Block = Any  # an nn.Module; its parts are looked up by name

_NEEDED = ("norm1", "attn.qkv", "attn.proj", "attn.num_heads", "norm2", "mlp")
_BLOCK_MODULES = {"norm1", "attn", "norm2", "mlp", "ls1", "ls2", "drop_path", "drop_path1", "drop_path2"}
_BLOCK_TENSORS = {"gamma_1", "gamma_2"}
_ATTN_MODULES = {"qkv", "proj", "q_norm", "k_norm", "attn_drop", "proj_drop"}


def attention_half(block: Block, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`x + attn(norm1(x))`, with layer scale and drop path where the block has them.

    Args:
        block: a block for which `find_misfit` has nothing to say.
        x: tokens, `[B, N, C]`.
        size: original tokens per token, `[B, N]`, for proportional attention; None for plain attention.

    Returns:
        Tokens `[B, N, C]` and the keys `[B, H, N, D]`.
    """
    attn = block.attn
    qkv = attn.qkv(block.norm1(x))
    q, k, v = qkv.unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # 3 x [B, H, N, D]
    q, k = _maybe(attn, "q_norm")(q), _maybe(attn, "k_norm")(k)
    out = proportional_attention(q, k, v, size, getattr(attn, "scale", None), _dropout(attn))
    out = _maybe(attn, "proj_drop")(attn.proj(out.transpose(1, 2).flatten(2)))  # [B, N, C]
    return x + _residual(block, out, 1), k


def mlp_half(block: Block, x: Tensor) -> Tensor:
    """`x + mlp(norm2(x))`, with layer scale and drop path where present; `[B, N, C]` to `[B, N, C]`."""
    out: Tensor = x + _residual(block, block.mlp(block.norm2(x)), 2)
    return out


def _residual(block: Block, branch: Tensor, half: int) -> Tensor:
    gamma = getattr(block, f"gamma_{half}", None)
    if gamma is not None:
        branch = gamma * branch
    branch = _maybe(block, f"ls{half}")(branch)
    kept: Tensor = _maybe(block, f"drop_path{half}")(_maybe(block, "drop_path")(branch))
    return kept


def _dropout(attn: Block) -> float:
    """Probability of dropping an attention weight now; `attn_drop` is a number, a Dropout or an Identity."""
    drop = getattr(attn, "attn_drop", None)
    p = drop if isinstance(drop, float) else getattr(drop, "p", 0.0)
    return p if attn.training else 0.0


def _maybe(module: Block, name: str) -> Any:
    """That part of the module, or the identity where it is missing or None."""
    part = getattr(module, name, None)
    return part if callable(part) else _same


def _same(x: Tensor) -> Tensor:
    return x


def find_misfit(block: nn.Module) -> str | None:
    """Why this is not a block that can be merged in, or None if it is one."""
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
    """Direct children and tensors beyond those named, except ones without effect."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return [
        *(name for name, _ in own if name not in tensors),
        *(name for name, child in module.named_children() if name not in modules and not _is_inert(child)),
    ]


def _is_inert(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity | nn.Softmax) or (isinstance(module, nn.Dropout) and module.p == 0)


@torch.no_grad()
def verify_block(block: nn.Module) -> None:
    """Run a copy of the block, with random weights on the CPU, its own way and in halves: they must agree.

    Parts alone do not tell a pre-norm block from one that normalises after attention, attends in windows or
    adds a bias of its own; numbers do.

    Raises:
        PatchError: the block computes something else.
    """
    if any(p.is_meta for p in block.parameters()):
        return  # without numbers there is nothing to compare
    kind = type(block).__name__
    with torch.autocast("cpu", enabled=False):
        try:
            probe: Block = copy.deepcopy(block).to("cpu", torch.float32)
            probe.eval()
            x = _randomise(probe)
            want = probe.forward(x)
        except Exception as error:
            raise PatchError(
                f"a copy of {kind} could not be run on tokens [B, N, C] to see what it computes: {error}"
            ) from error
        got = mlp_half(probe, attention_half(probe, x)[0])
    if (
        not isinstance(want, Tensor)
        or want.shape != got.shape
        or not torch.allclose(want, got, rtol=1e-3, atol=1e-3)
    ):
        raise PatchError(
            f"{kind} has the parts of a pre-norm ViT block, but does not compute x + attn(norm1(x)), then "
            "x + mlp(norm2(x)): merging inside it would change what the model is."
        )


def _randomise(probe: Block) -> Tensor:
    """Random weights for the copy, and random tokens `[2, 6, C]` for it; hooks of the copy are dropped."""
    draws = torch.Generator("cpu").manual_seed(0)
    for module in probe.modules():
        for hooks in ("_forward_hooks", "_forward_pre_hooks"):
            getattr(module, hooks).clear()
    for p in probe.parameters():
        if p.is_floating_point():
            p.uniform_(-1, 1, generator=draws).mul_(p.shape[-1] ** -0.5 if p.ndim > 1 else 1.0)
    x = torch.empty(2, 6, probe.attn.proj.weight.shape[0], dtype=torch.float32, device="cpu")
    return x.uniform_(-1, 1, generator=draws)
