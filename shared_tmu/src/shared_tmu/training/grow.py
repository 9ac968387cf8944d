"""Initialisation for small data sets; growing a trunk by blocks that start as the identity, and shrinking
it.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.errors import ConfigError
from shared_tmu.models.config import PATCHES
from shared_tmu.pictures.hand_crops import MEAN, STD


def cosine_patches(channels: int, size: int = 16) -> Tensor:
    """Filters of the lowest 2D cosine frequencies for a patch embedding, `[channels, 3, size, size]`.

    Two thirds of the channels encode brightness, the rest two colour differences, so that the first block
    gets as much of a patch's information as the number of channels allows; random filters would lose a part
    of it.
    """
    order = sorted((u + v, max(u, v), u, v) for u in range(size) for v in range(size))
    t = (torch.arange(size) + 0.5) * math.pi / size
    mixes = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    mixes = mixes / mixes.norm(dim=1, keepdim=True)
    color = channels // 6
    counts = (channels - 2 * color, color, color)
    out = []
    for mix, count in zip(mixes, counts, strict=True):
        for _, _, u, v in order[:count]:
            wave = torch.cos(u * t)[:, None] * torch.cos(v * t)[None, :]
            out.append(mix[:, None, None] * (wave / wave.norm()))
    return torch.stack(out)


def sine_positions(rows: int, columns: int, channels: int) -> Tensor:
    """Fixed 2D sine-cosine codes, `[rows * columns, channels]` in -1..1."""
    quarter = channels // 4
    rate = 1.0 / (40.0 ** (torch.arange(quarter) / max(quarter - 1, 1)))
    v, u = torch.meshgrid(torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")
    angles = [v.reshape(-1, 1) * rate, u.reshape(-1, 1) * rate]
    codes = torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], dim=1)
    return nn.functional.pad(codes, (0, channels - codes.shape[1]))


@torch.no_grad()
def initialise_vit(vit: Any, generator: torch.Generator | None = None) -> None:
    """Initialise a ViT for training from scratch on little data.

    Cosine patch filters, unless the stem is made of small convolutions; sine positions; keys that start
    close to the queries, so that tokens attend to similar tokens (after Trockman and Kolter 2023,
    arXiv:2305.09828); residual branches that start small.

    Args:
        vit: has `patch_embed`, `pos_embed` `[1, 1 + P, C]`, `config.grid`, and `blocks` with `attn.qkv`,
            `attn.proj` and `mlp.fc2`.
        generator: random number generator; torch's own by default.
    """
    if vit.config.stem == PATCHES:
        proj = vit.patch_embed.proj
        proj.weight.copy_(cosine_patches(proj.weight.shape[0], proj.weight.shape[-1]) * 0.35)
        proj.bias.zero_()
    rows, columns = vit.config.grid
    vit.pos_embed.zero_()
    vit.pos_embed[0, 1:] = 0.5 * sine_positions(rows, columns, vit.pos_embed.shape[-1])
    depth = len(vit.blocks)
    for block in vit.blocks:
        dim = block.attn.proj.weight.shape[0]
        qkv = torch.randn(3, dim, dim, generator=generator) / math.sqrt(dim)
        qkv[1] = 0.8 * qkv[0] + 0.6 * qkv[1]
        block.attn.qkv.weight.copy_(qkv.reshape(3 * dim, dim))
        for linear in (block.attn.proj, block.mlp.fc2):
            linear.weight.mul_(1.0 / math.sqrt(2.0 * depth))


@torch.no_grad()
def fold_normalisation(proj: nn.Conv2d) -> None:
    """Convert a patch embedding for normalised pictures to pictures in 0..1: the tokens stay the same, except
    for patches that extend beyond the border, where the padding no longer equals the mean colour.
    """
    mean, std = (proj.weight.new_tensor(values)[None, :, None, None] for values in (MEAN, STD))
    proj.weight.div_(std)
    assert proj.bias is not None
    proj.bias.sub_((proj.weight * mean).sum((1, 2, 3)))


@torch.no_grad()
def grow_blocks(blocks: nn.Sequential, depth: int) -> nn.Sequential:
    """Distribute a trunk's blocks over a deeper trunk; every new block starts as the identity.

    Each new block is a copy of the block before it whose residual branches add nothing yet, so the deeper
    trunk computes the same as the shallow one, bit for bit.

    Args:
        blocks: blocks with `attn.proj` and `mlp.fc2`; they become part of the result.
        depth: number of blocks of the deeper trunk.

    Raises:
        ConfigError: `depth` is smaller than the number of blocks.
    """
    if depth < len(blocks):
        raise ConfigError(
            f"cannot grow {len(blocks)} blocks to {depth}: give a depth of at least {len(blocks)}."
        )
    grown: list[nn.Module] = []
    for i in range(depth):
        source = i * len(blocks) // depth
        is_first = i == 0 or (i - 1) * len(blocks) // depth != source
        block: Any = blocks[source] if is_first else copy.deepcopy(blocks[source])
        if not is_first:
            for linear in (block.attn.proj, block.mlp.fc2):
                linear.weight.zero_()
                linear.bias.zero_()
        grown.append(block)
    return nn.Sequential(*grown)


def shrink_blocks(blocks: nn.Sequential, depth: int) -> nn.Sequential:
    """Keep those blocks of a deeper trunk that `grow_blocks` would have distributed over it.

    Undoes growth exactly; a trunk that was trained after growing loses what its new blocks have learned.

    Args:
        blocks: blocks of the deeper trunk; the kept ones become the result.
        depth: number of blocks to keep.

    Raises:
        ConfigError: `depth` is larger than the number of blocks, or below 1.
    """
    return nn.Sequential(*(blocks[i] for i in kept_blocks(len(blocks), depth)))


def resize_blocks(blocks: nn.Sequential, depth: int) -> nn.Sequential:
    """Grow or shrink a trunk to `depth` blocks; see `grow_blocks` and `shrink_blocks`."""
    return shrink_blocks(blocks, depth) if depth < len(blocks) else grow_blocks(blocks, depth)


def kept_blocks(deep: int, depth: int) -> list[int]:
    """The positions at which `grow_blocks` puts the `depth` blocks of a shallow trunk in one of `deep`
    blocks.

    Raises:
        ConfigError: `depth` is larger than `deep`, or below 1.
    """
    if not 1 <= depth <= deep:
        raise ConfigError(f"cannot keep {depth} of {deep} blocks: choose 1 to {deep}.")
    return [-(-i * deep // depth) for i in range(depth)]
