"""The plain vision transformer under HaMeR's head.

Legend: B batch, N tokens, C channels, H heads, D channels per head (C = H * D). Module and parameter names
are those of the published checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hamer.config import ViTConfig
from shared_tmu.errors import InputError

NORM_EPS = 1e-6


class DropPath(nn.Module):
    """Drop a residual branch per sample while training, and scale up the rest (stochastic depth).

    Source: Huang et al. 2016, arXiv:1603.09382.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1.0 - self.drop_prob
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * kept / keep

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:.3f}"


class PatchEmbed(nn.Module):
    """Cut an image into patches and project each to a token, row by row."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.img_size = config.img_size
        self.proj = nn.Conv2d(
            3, config.embed_dim, config.patch_size, stride=config.patch_size, padding=config.patch_padding
        )

    def forward(self, img: Tensor) -> Tensor:
        if img.ndim != 4 or img.shape[1] != 3 or tuple(img.shape[-2:]) != tuple(self.img_size):
            height, width = self.img_size
            raise InputError(f"the backbone takes images [B, 3, {height}, {width}], found {list(img.shape)}.")
        return self.proj(img).flatten(2).transpose(1, 2)  # [B, N, C]


class Attention(nn.Module):
    """Multi-head self-attention with one linear layer for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        shape = (batch, tokens, 3, self.num_heads, channels // self.num_heads)
        qkv = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # 3 x [B, H, N, D]
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, channels))


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


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
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ViT(nn.Module):
    """ViT without a class token in the sequence; `[B, 3, h, w]` in, tokens `[B, N, C]` out.

    `pos_embed` keeps the class token's slot of the pretraining; that slot is added to every patch token.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929; ViTPose, Xu et al. 2022, arXiv:2204.12484.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_dim = config.embed_dim
        self.use_checkpoint = config.use_checkpoint
        rows, columns = config.grid
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, rows * columns + 1, config.embed_dim))
        step = config.drop_path_rate / max(config.depth - 1, 1)
        self.blocks = nn.ModuleList(Block(config, step * i) for i in range(config.depth))
        self.last_norm = nn.LayerNorm(config.embed_dim, eps=NORM_EPS)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise for training from scratch: Xavier for linear layers, patches as one linear layer."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        weight = self.patch_embed.proj.weight
        nn.init.xavier_uniform_(weight.view(weight.shape[0], -1))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, img: Tensor) -> Tensor:
        x = self.patch_embed(img)
        x = x + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self._recomputes(x) else block(x)
        return self.last_norm(x)

    def _recomputes(self, x: Tensor) -> bool:
        return self.use_checkpoint and self.training and torch.is_grad_enabled()
