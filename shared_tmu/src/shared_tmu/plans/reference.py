"""Slow, simple versions of the fast code with Python loops: the reference in tests."""

from __future__ import annotations

import torch
from torch import Tensor

from .plan import MergePlan


def merge_loops(x: Tensor, plan: MergePlan, size: Tensor) -> tuple[Tensor, Tensor]:
    """`ops.merge`, one token at a time: `[B, N, C]` and `[B, N]` to `[B, M, C]` and `[B, M]`.

    A token with slot -1 is pruned and not counted. A slot without tokens is padding: zeros, of size 0.
    """
    images, sizes = [], []
    for b in range(x.shape[0]):
        sums = [torch.zeros(x.shape[2], dtype=torch.float64) for _ in range(plan.num_slots)]
        weights = [0.0] * plan.num_slots
        for n, slot in enumerate(plan.source_map[b].tolist()):
            if slot < 0:
                continue
            sums[slot] = sums[slot] + x[b, n].double().cpu() * float(size[b, n])
            weights[slot] += float(size[b, n])
        images.append(torch.stack([s / w if w else s for s, w in zip(sums, weights, strict=True)]))
        sizes.append(torch.tensor(weights, dtype=torch.float64))
    return torch.stack(images).to(x), torch.stack(sizes).to(size)


def unmerge_loops(x: Tensor, plan: MergePlan) -> Tensor:
    """`ops.unmerge`, one token at a time: `[B, M, C]` to `[B, N, C]`; pruned ones copy as the plan says."""
    images = []
    for b in range(x.shape[0]):
        slots = zip(plan.source_map[b].tolist(), plan.copy_map[b].tolist(), strict=True)
        images.append(torch.stack([x[b, slot if slot >= 0 else other] for slot, other in slots]))
    return torch.stack(images)


def match_loops(metric: Tensor, r: int, num_prefix_tokens: int = 0) -> MergePlan:
    """Bipartite soft matching in TMU's order (method `tome` with 0, or 3 and more, prefix tokens).

    Args:
        metric: `[B, N, D]`.
        r: tokens to remove, limited to half of those that may merge.
        num_prefix_tokens: tokens at the front that stay as they are.
    """
    removed = min(r, (metric.shape[1] - num_prefix_tokens) // 2)
    if removed == 0:
        return MergePlan.identity(metric.shape[0], metric.shape[1], metric.device)
    maps = []
    prefix = list(range(num_prefix_tokens))
    for features in metric.detach().double():
        unit = [f / f.norm().clamp_min(1e-12) for f in features[num_prefix_tokens:]]
        sources, targets = unit[0::2], unit[1::2]
        best = []
        for i, a in enumerate(sources):
            scores = [float(a @ b) for b in targets]
            best.append((-max(scores), i, scores.index(max(scores))))  # sorts by score, then by position
        best.sort()
        slots = {f"a{i}": len(prefix) + rank for rank, (_, i, _) in enumerate(best[removed:])}
        first_target = len(prefix) + len(sources) - removed
        slots |= {f"b{j}": first_target + j for j in range(len(targets))}
        slots |= {f"a{i}": slots[f"b{j}"] for _, i, j in best[:removed]}
        patches = [slots[f"{'ab'[n % 2]}{n // 2}"] for n in range(len(unit))]
        maps.append(prefix + patches)
    return MergePlan(torch.tensor(maps, device=metric.device), metric.shape[1] - removed)


def attend_explicitly(
    q: Tensor, k: Tensor, v: Tensor, size: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Proportional attention with the softmax written out.

    Args:
        q, k, v: `[B, H, N, D]`.
        size: original tokens per token, `[B, N]`, or None.
        scale: factor on the logits; None is D ** -0.5.
    """
    logits = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)  # [B, H, N, N]
    if size is None:
        size = torch.ones(k.shape[0], k.shape[2], dtype=q.dtype, device=q.device)
    weights = logits.exp() * size.to(q.dtype)[:, None, None, :]  # a key of size s counts s times
    return weights / weights.sum(-1, keepdim=True) @ v
