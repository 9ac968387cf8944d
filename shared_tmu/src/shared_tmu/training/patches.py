"""Training on a part of the patches: a step takes about half the time if the empty half of a picture is left
out.

Legend: B batch, T task tokens, P patch tokens, K patches that are kept, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 4  # cells along each side of a patch


def to_patches(cells: Tensor) -> Tensor:
    """Group labels of cells `[B, 4h, 4w, ...]` by patch, `[B, h * w, 16, ...]`."""
    batch, height, width, *rest = cells.shape
    rows, columns = height // CELLS, width // CELLS
    split = cells.reshape(batch, rows, CELLS, columns, CELLS, *rest).transpose(2, 3)
    return split.reshape(batch, rows * columns, CELLS * CELLS, *rest)


def choose_patches(part: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose patches of each picture to keep: those that show its subject, then those around them, then
    random ones.

    Which patches are kept tells a model where the subject is, so it does not learn to find it where that is
    difficult: a stage with all patches has to follow.

    Args:
        part: label of each cell, 0 for background, `[B, 4h, 4w]`.
        count: number of patches to keep, K; of a larger subject, some are chosen at random.
        generator: random number generator on the device of `part`; torch's own by default.

    Returns:
        Their indices `[B, K]` int64, in ascending order.

    Source: after Liu et al. 2022, PatchDropout, arXiv:2208.07220, which drops patches at random only.
    """
    shown = F.max_pool2d((part > 0).float()[:, None], CELLS)  # [B, 1, h, w]
    around = F.max_pool2d(shown, 3, stride=1, padding=1)
    score = (2.0 * shown + around).flatten(1)
    score = score + torch.rand(score.shape, generator=generator, device=score.device)
    return score.topk(min(count, score.shape[1]), dim=1).indices.sort(dim=1).values


def sees_all(seed: int, step: int, share: float) -> bool:
    """Whether a step sees all patches although others keep some: by chance, a share of the steps does."""
    return share > 0.0 and bool(np.random.default_rng((seed, 2, step)).random() < share)


def encode_some(
    vit: Any,
    img: Tensor,
    kept: Tensor | None,
    with_tasks: bool = True,
    enter: Callable[[int, Tensor], None] = lambda number, tokens: None,
) -> Tensor:
    """The output of a ViT for the kept patches only.

    Args:
        vit: has `patch_embed`, `pos_embed` `[1, 1 + P, C]`, `task_tokens_for`, `blocks` and `last_norm`.
        img: `[B, 3, h, w]`.
        kept: indices of the patches, `[B, K]`; None for all.
        with_tasks: whether the ViT's task tokens are included.
        enter: takes the number of each block and the tokens that enter it.

    Returns:
        Tokens `[B, T + K, C]`, task tokens first; if all patches are kept, equal to the ViT's output.
    """
    x = vit.patch_embed(img) + vit.pos_embed[:, 1:] + vit.pos_embed[:, :1]
    x = take_patches(x, kept)
    tasks = vit.task_tokens_for(img.shape[0]) if with_tasks else None
    if tasks is not None:
        x = torch.cat((tasks.to(x.dtype), x), dim=1)
    for number, block in enumerate(vit.blocks):
        enter(number, x)
        x = block(x)
    out: Tensor = vit.last_norm(x)
    return out


def take_patches(values: Tensor, kept: Tensor | None) -> Tensor:
    """Select the rows `[B, K, ...]` of the kept patches from `[B, P, ...]`; all rows if `kept` is None."""
    if kept is None:
        return values
    index = kept.reshape(*kept.shape, *(1 for _ in values.shape[2:]))
    return values.gather(1, index.expand(-1, -1, *values.shape[2:]))


def put_back(tokens: Tensor, kept: Tensor, patches: int) -> Tensor:
    """Extend `[B, T + K, C]` to `[B, T + P, C]` for heads that read the whole grid, with zeros for patches
    that were not kept.
    """
    prefix = tokens.shape[1] - kept.shape[1]
    grid = tokens.new_zeros(len(tokens), patches, tokens.shape[2])
    index = kept[..., None].expand(-1, -1, tokens.shape[2])
    return torch.cat((tokens[:, :prefix], grid.scatter(1, index, tokens[:, prefix:])), dim=1)
