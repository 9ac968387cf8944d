"""Transformers with long skip connections: layers of the first half feed those of the second."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from shared_tmu.errors import ConfigError


class TemporalBlock(nn.Module):
    """Self-attention, then attention to a memory if there is one, then an MLP; each is added, then normed.

    Args:
        dim: width.
        heads: of attention.
        hidden: width of the MLP.
        dropout: share of values that are dropped in training.
        reads_memory: whether it attends to a memory.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float, *, reads_memory: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.norm1 = nn.LayerNorm(dim)
        self.memory = nn.MultiheadAttention(dim, heads, dropout, batch_first=True) if reads_memory else None
        self.norm_memory = nn.LayerNorm(dim) if reads_memory else None
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Tokens `[B, N, D]` to tokens; `memory` is `[B, M, D]`."""
        x = self.norm1(x + self.dropout(self.attention(x, x, x, need_weights=False)[0]))
        if self.memory is not None and self.norm_memory is not None and memory is not None:
            x = self.norm_memory(x + self.dropout(self.memory(x, memory, memory, need_weights=False)[0]))
        return torch.as_tensor(self.norm2(x + self.dropout(self.mlp(x))))


class SkipTransformer(nn.Module):
    """An odd number of blocks; block n - 1 - k also reads the output of block k, by a linear layer over both.

    Args:
        dim, heads, hidden, dropout, reads_memory: see `TemporalBlock`.
        layers: n.

    Raises:
        ConfigError: the number of layers is even, or the width does not fit the heads.
    """

    def __init__(
        self, dim: int, heads: int, hidden: int, layers: int, dropout: float, *, reads_memory: bool = False
    ) -> None:
        super().__init__()
        if layers < 1 or layers % 2 == 0 or dim % heads:
            raise ConfigError(
                f"a temporal transformer of {layers} layers, width {dim} and {heads} heads was asked for: "
                "the number of layers must be odd, and the heads must divide the width."
            )
        self.blocks = nn.ModuleList(
            TemporalBlock(dim, heads, hidden, dropout, reads_memory=reads_memory) for _ in range(layers)
        )
        self.skips = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(layers // 2))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Tokens `[B, N, D]` to tokens."""
        half = len(self.skips)
        kept: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            if number > half:
                x = self.skips[number - half - 1](torch.cat((x, kept.pop()), dim=-1))
            x = block(x, memory)
            if number < half:
                kept.append(x)
        return torch.as_tensor(self.norm(x))


def time_embedding(time: Tensor, dim: int) -> Tensor:
    """Cosines, then sines, of times `[B]` at frequencies from 1 down to 1/10000, `[B, dim]`."""
    half = dim // 2
    rates = torch.exp(-math.log(10000.0) * torch.arange(half, device=time.device) / half)
    angles = time.float()[:, None] * rates
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def places(times: Tensor, dim: int) -> Tensor:
    """Learned positions start as sines and cosines of times `[N]` in 0..1, so that what is near in time is
    alike, `[N, dim]`."""
    rates = math.pi * 2.0 ** torch.linspace(0.0, 7.0, (dim + 1) // 2)
    angles = times[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1)[:, :dim]


def spread(count: int) -> Tensor:
    """Times of `count` frames or latents that share a window, `[count]` in 0..1."""
    return torch.linspace(0.0, 1.0, count) if count > 1 else torch.full((1,), 0.5)


def spline_basis(frames: int, knots: int) -> Tensor:
    """Uniform cubic B-splines over frames, `[frames, knots]`: they sum to 1 and follow cubics exactly."""
    step = (frames - 1) / (knots - 3)
    centres = step * (torch.arange(knots, dtype=torch.float64) - 1.0)
    x = ((torch.arange(frames, dtype=torch.float64)[:, None] - centres) / step).abs()
    near = 2.0 / 3.0 - x.square() + 0.5 * x**3
    far = (2.0 - x).clamp_min(0.0) ** 3 / 6.0
    return torch.where(x < 1.0, near, far)
