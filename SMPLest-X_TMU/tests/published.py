"""A stand-in for the published classes: the same attributes and the same way of running, a tenth of the size.

Blocks attend by an explicit softmax, the ViT keeps its task tokens as a parameter and puts them in front, and
returns image and task tokens apart, the image tokens as a map; the model holds it as `encoder`.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class PublishedAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        weights = self.attn_drop(((qkv[0] * self.scale) @ qkv[1].transpose(-2, -1)).softmax(dim=-1))
        return self.proj_drop(self.proj((weights @ qkv[2]).transpose(1, 2).reshape(batch, tokens, channels)))


class PublishedMlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2, self.drop = (
            nn.Linear(dim, dim),
            nn.GELU(),
            nn.Linear(dim, dim),
            nn.Dropout(0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.act(self.fc1(x))))


class PublishedBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp, self.drop_path = (
            PublishedAttention(dim, num_heads),
            PublishedMlp(dim),
            nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PublishedViT(nn.Module):
    def __init__(self, task_tokens_num: int, dim: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.use_checkpoint = False
        self.patch_embed = nn.Conv2d(3, dim, 16, 16, padding=2)
        self.task_tokens = nn.Parameter(torch.randn(1, task_tokens_num, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 193, dim))
        self.blocks = nn.ModuleList([PublishedBlock(dim, 4) for _ in range(depth)])
        self.last_norm = nn.LayerNorm(dim)

    def forward_features(self, x: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patch_embed(x)
        rows, columns = x.shape[2:]
        x = x.flatten(2).transpose(1, 2) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        x = torch.cat((tasks.expand(len(x), -1, -1), x), dim=1)
        for block in self.blocks:
            x = checkpoint(block, x) if self.use_checkpoint else block(x)
        x = self.last_norm(x)
        count = tasks.shape[1]
        return x[:, count:].transpose(1, 2).reshape(len(x), -1, rows, columns), x[:, :count]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_features(x, getattr(self, "task_tokens", None))

    def train(self, mode: bool = True) -> None:
        """Returns nothing, as published."""
        super().train(mode)


class PublishedModel(nn.Module):
    def __init__(self, encoder: PublishedViT) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Linear(32, 3)

    def forward(self, img: Tensor) -> Tensor:
        maps, tasks = self.encoder(img)
        return self.decoder(torch.cat((maps.flatten(2).transpose(1, 2), tasks), dim=1))
