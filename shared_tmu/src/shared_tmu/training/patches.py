"""Training on a part of the patches: a step costs about half as much when the empty half of a picture is left
out.

Legend: B batch, T task tokens, P patch tokens, K patches that are kept, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 4  # cells along each side of a patch


def to_patches(cells: Tensor) -> Tensor:
    """Labels of cells `[B, 4h, 4w, ...]` by the patch they lie in, `[B, h * w, 16, ...]`."""
    batch, height, width, *rest = cells.shape
    rows, columns = height // CELLS, width // CELLS
    split = cells.reshape(batch, rows, CELLS, columns, CELLS, *rest).transpose(2, 3)
    return split.reshape(batch, rows * columns, CELLS * CELLS, *rest)


def choose_patches(part: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Patches to keep of each picture: those that show its subject, then those around them, then random ones.

    Args:
        part: label of each cell, 0 for background, `[B, 4h, 4w]`.
        count: how many to keep, K; of a subject larger than that, some by chance.
        generator: the source of chance, on the device of `part`; torch's own by default.

    Returns:
        Their numbers `[B, K]` int64, in rising order.

    Source: after Liu et al. 2022, PatchDropout, arXiv:2208.07220, which drops by chance alone.
    """
    shown = F.max_pool2d((part > 0).float()[:, None], CELLS)  # [B, 1, h, w]
    around = F.max_pool2d(shown, 3, stride=1, padding=1)
    score = (2.0 * shown + around).flatten(1)
    score = score + torch.rand(score.shape, generator=generator, device=score.device)
    return score.topk(min(count, score.shape[1]), dim=1).indices.sort(dim=1).values


def encode_some(vit: Any, img: Tensor, kept: Tensor, with_tasks: bool = True) -> Tensor:
    """The output of a ViT for the kept patches only.

    Args:
        vit: has `patch_embed`, `pos_embed` `[1, 1 + P, C]`, `task_tokens_for`, `blocks` and `last_norm`.
        img: `[B, 3, h, w]`.
        kept: numbers of patches, `[B, K]`.
        with_tasks: whether the ViT's task tokens come along.

    Returns:
        Tokens `[B, T + K, C]`, task tokens first; with every patch kept, what the ViT returns.
    """
    x = vit.patch_embed(img) + vit.pos_embed[:, 1:] + vit.pos_embed[:, :1]
    x = take_patches(x, kept)
    tasks = vit.task_tokens_for(img.shape[0]) if with_tasks else None
    if tasks is not None:
        x = torch.cat((tasks.to(x.dtype), x), dim=1)
    for block in vit.blocks:
        x = block(x)
    out: Tensor = vit.last_norm(x)
    return out


def take_patches(values: Tensor, kept: Tensor | None) -> Tensor:
    """`[B, P, ...]` to the rows `[B, K, ...]` of the kept patches; all of them if `kept` is None."""
    if kept is None:
        return values
    index = kept.reshape(*kept.shape, *(1 for _ in values.shape[2:]))
    return values.gather(1, index.expand(-1, -1, *values.shape[2:]))


def put_back(tokens: Tensor, kept: Tensor, patches: int) -> Tensor:
    """`[B, T + K, C]` to `[B, T + P, C]` for heads that read the whole grid: zeros where nothing was kept."""
    prefix = tokens.shape[1] - kept.shape[1]
    grid = tokens.new_zeros(len(tokens), patches, tokens.shape[2])
    index = kept[..., None].expand(-1, -1, tokens.shape[2])
    return torch.cat((tokens[:, :prefix], grid.scatter(1, index, tokens[:, prefix:])), dim=1)
