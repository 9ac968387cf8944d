"""Small ViTs for the tests, one per style of writing its loop: ours, not anybody's."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class ToyAttention(nn.Module):
    """Attention with its softmax written out, so that fused attention is compared to something."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.attn_drop = nn.Dropout(dropout)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        weights = (self.q_norm(q) * self.scale @ self.k_norm(k).transpose(-1, -2)).softmax(-1)
        out = (self.attn_drop(weights) @ v).transpose(1, 2).reshape(batch, tokens, width)
        return self.proj_drop(self.proj(out))


class ToyMlp(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class ToyBlock(nn.Module):
    """Pre-norm block as in ViTPose."""

    def __init__(self, width: int = 32, heads: int = 4, hidden: int = 64, **attention: bool | float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = ToyAttention(width, heads, **attention)
        self.drop_path = nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = ToyMlp(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class ScaledBlock(ToyBlock):
    """As in timm: layer scale as a module, two drop paths, normalised queries and keys."""

    def __init__(self, width: int = 32, **options: int) -> None:
        super().__init__(width, qk_norm=True, **options)
        del self.drop_path
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)
        self.drop_path1, self.drop_path2 = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class GammaBlock(ToyBlock):
    """As in BEiT: layer scale as two parameters."""

    def __init__(self, width: int = 32, **options: int) -> None:
        super().__init__(width, **options)
        self.gamma_1, self.gamma_2 = (
            nn.Parameter(torch.rand(width) + 0.5),
            nn.Parameter(torch.rand(width) + 0.5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.gamma_1 * self.attn(self.norm1(x)))
        return x + self.drop_path(self.gamma_2 * self.mlp(self.norm2(x)))


class ToyViT(nn.Module):
    """Tokens in, tokens out; task tokens may be put in front; a loop over a ModuleList."""

    def __init__(
        self, depth: int = 4, task_tokens: int = 0, width: int = 32, block: type = ToyBlock, **options: int
    ):
        super().__init__()
        self.task_tokens = nn.Parameter(torch.randn(1, task_tokens, width))
        self.blocks = nn.ModuleList(block(width, **options) for _ in range(depth))
        self.last_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.task_tokens.expand(x.shape[0], -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.last_norm(x)


class SequentialViT(ToyViT):
    """As in timm: the blocks are a Sequential that is called."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        self.blocks = nn.Sequential(*self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_norm(self.blocks(x))


class MapViT(nn.Module):
    """Behaves as published pose backbones do: images in, a map out, `train()` returns None."""

    def __init__(
        self, size: tuple[int, int], patch: int, width: int, heads: int, hidden: int, depth: int
    ) -> None:
        super().__init__()
        self.use_checkpoint = False
        self.use_reentrant = False
        self.grid = (size[0] // patch, size[1] // patch)
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch, padding=2)
        self.pos_embed = nn.Parameter(torch.randn(1, math.prod(self.grid) + 1, width))
        self.blocks = nn.ModuleList(ToyBlock(width, heads, hidden) for _ in range(depth))
        self.last_norm = nn.LayerNorm(width, eps=1e-6)

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)

    def forward(self, img: Tensor) -> Tensor:
        x = self.patch_embed.proj(img).flatten(2).transpose(1, 2)
        x = x + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        for blk in self.blocks:
            x = checkpoint(blk, x, use_reentrant=self.use_reentrant) if self.use_checkpoint else blk(x)
        x = self.last_norm(x)
        return x.permute(0, 2, 1).reshape(x.shape[0], -1, *self.grid).contiguous()
