"""The parts of a block under one set of names, whatever its own names are.

Most blocks have these names already. Those around torch's `nn.MultiheadAttention` (torchvision, SWAG,
OpenCLIP) are seen through a view, which keeps no state: it reads the block at every access.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

Block = Any  # an nn.Module, or a view of one; its parts are looked up by name

_NORMS = (("ln_1", "ln_2"), ("norm1", "norm2"))
_ATTENTIONS = ("self_attention", "attn")


def parts_of(block: Any) -> Block:
    """The block itself, or a view of it with the same parts under the usual names."""
    if isinstance(block, MultiheadBlock):
        return block
    attention = next((name for name in _ATTENTIONS if _is_multihead(block, name)), None)
    norms = next((pair for pair in _NORMS if all(hasattr(block, name) for name in pair)), None)
    if attention is None or norms is None or not hasattr(block, "mlp"):
        return block
    return MultiheadBlock(block, attention, norms)


def _is_multihead(block: Any, name: str) -> bool:
    return isinstance(getattr(block, name, None), nn.MultiheadAttention)


class MultiheadBlock:
    """A view of a pre-norm block around `nn.MultiheadAttention`.

    Args:
        block: the block.
        attention: name of its attention.
        norms: names of its two norms.
    """

    def __init__(self, block: nn.Module, attention: str, norms: tuple[str, str]) -> None:
        self.block = block
        self.known = {attention, *norms, "mlp", "dropout", "ls_1", "ls_2"}
        self.norm1: Any = getattr(block, norms[0])
        self.norm2: Any = getattr(block, norms[1])
        self.mlp: Any = block.mlp
        self.ls1: Any = getattr(block, "ls_1", None)
        self.ls2: Any = getattr(block, "ls_2", None)
        self.attn = MultiheadParts(getattr(block, attention), getattr(block, "dropout", None))


class MultiheadParts:
    """A view of an `nn.MultiheadAttention` with `qkv` and `proj`.

    Args:
        attention: the module.
        proj_drop: dropout that the block applies to its output.
    """

    scale: float | None = None

    def __init__(self, attention: nn.MultiheadAttention, proj_drop: Any = None) -> None:
        self.module = attention
        # separate projections, for keys and values of other widths, are no self-attention
        self.qkv = None if attention.in_proj_weight is None else InProjection(attention)
        self.proj = attention.out_proj
        self.num_heads = attention.num_heads
        self.attn_drop = float(attention.dropout)
        self.proj_drop = proj_drop
        self.training = attention.training

    def find_unknown(self) -> list[str]:
        """Names of options of the module that the view does not follow, if they are in use."""
        module = self.module
        names = [name for name in ("bias_k", "bias_v") if getattr(module, name) is not None]
        return [*names, *(["add_zero_attn"] if module.add_zero_attn else [])]


class InProjection:
    """The common projection to queries, keys and values of an `nn.MultiheadAttention`.

    Args:
        attention: the module.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        self.weight, self.bias = attention.in_proj_weight, attention.in_proj_bias

    @property
    def in_features(self) -> int:
        """C."""
        return int(self.weight.shape[1])

    @property
    def out_features(self) -> int:
        """3 C."""
        return int(self.weight.shape[0])

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, N, C]` to `[B, N, 3 C]`."""
        return functional.linear(x, self.weight, self.bias)


def is_sequence_first(block: Block) -> bool:
    """Whether a block takes tokens as `[N, B, C]`."""
    parts = parts_of(block)
    return isinstance(parts, MultiheadBlock) and not parts.attn.module.batch_first


def replaced_modules(block: Block) -> dict[str, nn.Module]:
    """The modules whose own forward does not run when the two halves of a block run separately."""
    if isinstance(block, MultiheadBlock):
        return {"": block.block, ".attn": block.attn.module}
    return {"": block, ".attn": block.attn}
