"""The plain vision transformer under every head here.

Legend: B batch, T task tokens, P patch tokens, N = T + P tokens, C channels, H heads, D channels per head
(C = H * D). Module and parameter names are those of the published checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from shared_tmu.models.config import ViTConfig
from shared_tmu.models.stem import patch_embedding

NORM_EPS = 1e-6


class DropPath(nn.Module):
    """Drops a residual branch per sample during training, and scales up the others (stochastic depth).

    Source: Huang et al. 2016, arXiv:1603.09382.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """`[B, ...]` to the same shape."""
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1.0 - self.drop_prob
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * kept / keep

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"drop_prob={self.drop_prob:.3f}"


class Attention(nn.Module):
    """Multi-head self-attention with one linear layer for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, N, C]` to the same shape."""
        batch, tokens, channels = x.shape
        shape = (batch, tokens, 3, self.num_heads, channels // self.num_heads)
        qkv = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # 3 x [B, H, N, D]
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        mixed: Tensor = self.proj(out.transpose(1, 2).reshape(batch, tokens, channels))
        return mixed


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., C]` to the same shape."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a residual."""

    def __init__(self, config: ViTConfig, drop_path: float) -> None:
        super().__init__()
        dim = config.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, config.num_heads, config.qkv_bias)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, N, C]` to the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class ViT(nn.Module):
    """ViT without a class token in the sequence; maps `[B, 3, h, w]` to tokens `[B, N, C]`.

    `pos_embed` keeps the class token's entry from pretraining, which is added to every patch token. A model
    with task tokens gives their number in `num_prefix_tokens` and the tokens in `task_tokens_for`; they
    precede the patch tokens and have no position embedding.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929; ViTPose, Xu et al. 2022, arXiv:2204.12484.
    """

    num_prefix_tokens = 0

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_dim = config.embed_dim
        self.use_checkpoint = config.use_checkpoint
        rows, columns = config.grid
        self.patch_embed = patch_embedding(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, rows * columns + 1, config.embed_dim))
        step = config.drop_path_rate / max(config.depth - 1, 1)
        self.blocks = nn.Sequential(*(Block(config, step * i) for i in range(config.depth)))
        self.last_norm = nn.LayerNorm(config.embed_dim, eps=NORM_EPS)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise for training from scratch: Xavier for linear layers; the patch embedding is treated as a
        linear layer.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.patch_embed.reset_parameters()
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def task_tokens_for(self, batch_size: int) -> Tensor | None:
        """The `num_prefix_tokens` task tokens `[B, T, C]` for a number of images; None if there are none."""
        return None

    def forward(self, img: Tensor) -> Tensor:
        """Map images `[B, 3, h, w]` to tokens `[B, T + P, C]`, task tokens first, after the last norm."""
        x = self.patch_embed(img)
        x = x + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        tasks = self.task_tokens_for(img.shape[0])
        if tasks is not None:
            x = torch.cat((tasks.to(x.dtype), x), dim=1)
        if self._recomputes():
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False)
        else:
            x = self.blocks(x)
        out: Tensor = self.last_norm(x)
        return out

    def _recomputes(self) -> bool:
        return self.use_checkpoint and self.training and torch.is_grad_enabled()
