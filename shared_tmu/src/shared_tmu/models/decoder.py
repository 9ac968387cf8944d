"""Transformer decoder layers that read image tokens, the same in HaMeR's head and SMPLest-X's decoder.

Legend: B batch, Q queries, N context tokens, C channels, H heads, D channels per head. Names are those of the
published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.models.config import MAX_CHANNELS, MAX_LAYERS
from shared_tmu.models.fields import expect_within


@dataclass(frozen=True)
class DecoderConfig:
    """A transformer decoder; names as in the published `TRANSFORMER_DECODER`."""

    depth: int = 6
    heads: int = 8
    mlp_dim: int = 1024
    dim_head: int = 64
    dim: int = 1024
    dropout: float = 0.0
    emb_dropout: float = 0.0
    context_dim: int = 1280

    def __post_init__(self) -> None:
        expect_within("depth", self.depth, 1, MAX_LAYERS)
        for name in ("heads", "mlp_dim", "dim_head", "dim", "context_dim"):
            expect_within(name, getattr(self, name), 1, MAX_CHANNELS)
        expect_within("heads * dim_head", self.heads * self.dim_head, 1, MAX_CHANNELS)
        for name in ("dropout", "emb_dropout"):
            expect_within(name, getattr(self, name), 0, 1)


class PreNorm(nn.Module):
    """Normalises the input of a layer, but not the context."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`fn(norm(x))`, or `fn(norm(x), context)`."""
        out: Tensor = self.fn(self.norm(x)) if context is None else self.fn(self.norm(x), context)
        return out


class _Attention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads, self.dropout = config.heads, config.dropout
        self.to_out = nn.Sequential(nn.Linear(inner, config.dim), nn.Dropout(config.dropout))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map queries `[B, Q, H * D]`, keys and values `[B, N, H * D]` to `[B, Q, C]`."""
        width = q.shape[-1] // self.heads
        q, k, v = (
            x.reshape(*x.shape[:2], self.heads, width).transpose(1, 2) for x in (q, k, v)
        )  # [B, H, ., D]
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        mixed: Tensor = self.to_out(out.transpose(1, 2).flatten(2))
        return mixed


class SelfAttention(_Attention):
    """Attention among the queries."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.to_qkv = nn.Linear(config.dim, 3 * config.heads * config.dim_head, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, Q, C]` to the same shape."""
        return self.attend(*self.to_qkv(x).chunk(3, dim=-1))


class CrossAttention(_Attention):
    """Attention from the queries to the image tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        inner = config.heads * config.dim_head
        self.to_kv = nn.Linear(config.context_dim, 2 * inner, bias=False)
        self.to_q = nn.Linear(config.dim, inner, bias=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map queries `[B, Q, C]` and context `[B, N, context_dim]` to `[B, Q, C]`."""
        if self.training and x.shape[1] == 1 and not self.dropout:
            return self._read_once(self.to_q(x), context)
        return self.attend(self.to_q(x), *self.to_kv(context).chunk(2, dim=-1))

    def _read_once(self, q: Tensor, context: Tensor) -> Tensor:
        """The same for a single query `[B, 1, H * D]`, without keys and values of every token: it is moved to
        the context's channels instead, and what it read back from there, which takes a tenth of the time.

        Only in training: the order of the sums differs, and results of published weights must not.
        """
        width = q.shape[-1] // self.heads
        keys, values = self.to_kv.weight.reshape(2, self.heads, width, -1)  # 2 x [H, D, context_dim]
        asked = q.reshape(-1, self.heads, width).transpose(0, 1) @ keys  # [H, B, context_dim]
        scores = asked.transpose(0, 1) @ context.transpose(1, 2) * width**-0.5  # [B, H, N]
        read = scores.softmax(-1) @ context  # [B, H, context_dim]
        out = read.transpose(0, 1) @ values.transpose(1, 2)  # [H, B, D]
        mixed: Tensor = self.to_out(out.transpose(0, 1).flatten(1)[:, None])
        return mixed


class FeedForward(nn.Module):
    """Two linear layers around an exact GELU, with dropout."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(config.dim, config.mlp_dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.mlp_dim, config.dim),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[..., C]` to the same shape."""
        out: Tensor = self.net(x)
        return out


class DecoderLayers(nn.Module):
    """Self-attention, cross-attention, feed-forward; pre-norm, residual, no final norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                PreNorm(config.dim, layer(config)) for layer in (SelfAttention, CrossAttention, FeedForward)
            )
            for _ in range(config.depth)
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Let queries `[B, Q, C]` read context `[B, N, context_dim]`; returns `[B, Q, C]`."""
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            self_attention, cross_attention, feed_forward = layer
            x = x + self_attention(x)
            x = x + cross_attention(x, context)
            x = x + feed_forward(x)
        return x
