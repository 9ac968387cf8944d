"""Tokens after every block of a model, to compare its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


@torch.inference_mode()
def collect_features(
    blocks: Sequence[nn.Module], run: Callable[[], object], images: int, most: int
) -> list[Tensor]:
    """Tokens after every block, `[S, C]` each, on the CPU: the same S tokens, drawn evenly at random.

    Args:
        blocks: modules whose output is `[B, N, C]`, in the order in which they run.
        run: runs the model on all images, in one or several batches.
        images: their number.
        most: S at most; all tokens of all images if these are fewer.
    """
    found: list[list[Tensor]] = [[] for _ in blocks]
    chance = torch.Generator().manual_seed(0)
    chosen: list[Tensor] = []

    def keep(layer: int, out: Tensor) -> None:
        tokens = out.flatten(0, 1)  # [B N, C]
        if layer == 0:
            share = most / images * out.shape[0]
            count = min(tokens.shape[0], max(1, round(share)))
            chosen[:] = [torch.randperm(tokens.shape[0], generator=chance)[:count]]
        found[layer].append(tokens[chosen[0].to(tokens.device)].float().cpu())

    hooks = [
        block.register_forward_hook(lambda _, given, out, layer=layer: keep(layer, out))
        for layer, block in enumerate(blocks)
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return [torch.cat(parts) for parts in found]
