"""Small ViTs around `nn.MultiheadAttention`, in the layouts of torchvision, SWAG and OpenCLIP."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class SwagBlock(nn.Module):
    """Names of torchvision and SWAG."""

    def __init__(self, width=32, heads=4, batch_first=True):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=batch_first)
        self.dropout = nn.Dropout(0.0)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x):
        normed = self.ln_1(x)
        x = x + self.dropout(self.self_attention(normed, normed, normed, need_weights=False)[0])
        return x + self.mlp(self.ln_2(x))


class ClipBlock(nn.Module):
    """Names of OpenCLIP, with layer scale."""

    def __init__(self, width=32, heads=4, batch_first=True):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=batch_first)
        self.ls_1, self.ls_2 = nn.Identity(), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x):
        normed = self.ln_1(x)
        x = x + self.ls_1(self.attn(normed, normed, normed, need_weights=False)[0])
        return x + self.ls_2(self.mlp(self.ln_2(x)))


class SwagViT(nn.Module):
    """A class token in front; the encoder's container is called, or iterated."""

    def __init__(self, block=SwagBlock, batch_first=True, is_called=True):
        super().__init__()
        self.image_size = 24
        self.conv_proj = nn.Conv2d(3, 32, 4, 4)
        self.class_token = nn.Parameter(torch.randn(1, 1, 32))
        self.batch_first, self.is_called, self.checkpoints = batch_first, is_called, False
        self.encoder = nn.Module()
        self.encoder.layers = nn.Sequential(
            OrderedDict((f"layer_{i}", block(batch_first=batch_first)) for i in range(3))
        )
        self.head = nn.Linear(32, 5)

    def forward(self, images):
        x = self.conv_proj(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        x = x if self.batch_first else x.transpose(0, 1)
        if self.is_called:
            x = self.encoder.layers(x)
        else:
            for layer in self.encoder.layers:
                x = checkpoint(layer, x, use_reentrant=False) if self.checkpoints else layer(x)
        return self.head(x if self.batch_first else x.transpose(0, 1))
