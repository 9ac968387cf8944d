"""How time and memory grow with tokens, images and blocks, for a trunk made for this, in which half of the
tokens merge.

The trunk is narrow, so that many points take only minutes on a small CPU. Merging costs relatively more in a
narrow trunk (the cost of matching grows with the square of the tokens, the cost of the rest mostly with the
square of the width), so overheads here are larger than in a real model; this measurement shows how they grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu import patch, plan_merge
from shared_tmu.bench.costs import peak_memory_mib
from shared_tmu.bench.floor import make_floor
from shared_tmu.programs.random_models import build_random, share_weights
from shared_tmu.programs.results import describe_environment
from shared_tmu.programs.timing import compare_times, measure_calls
from shared_tmu.schedule import Schedule

AXES = {
    "tokens": (192, 384, 768, 1536, 3072, 4096),
    "batch": (1, 2, 4, 8, 16),
    "depth": (2, 4, 8, 16, 32),
}
"""The axes, with their values; other settings stay as in `ScalePoint`."""


@dataclass(frozen=True)
class ScalePoint:
    """One trunk and its input.

    Args:
        tokens: N.
        batch: B.
        depth: L.
        width: C.
        num_heads: H.
    """

    tokens: int = 384
    batch: int = 1
    depth: int = 4
    width: int = 256
    num_heads: int = 4

    @property
    def schedule(self) -> Schedule:
        """The number of tokens to remove in every block so that about half of them are left at the end."""
        return Schedule.parse(max(1, self.tokens // (2 * self.depth)))


@dataclass(frozen=True)
class ScaleSettings:
    """How to measure.

    Args:
        device: device to measure on.
        dtype: number format of weights and tokens.
        axes: values of tokens, batch and depth.
        rounds: how often every point is timed.
        budget_s: time after which a point is stopped early, but not before five rounds.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    axes: dict[str, Sequence[int]] | None = None
    rounds: int = 20
    budget_s: float = 5.0


class _Trunk(nn.Module):
    """Only blocks; maps `[B, N, C]` to the same shape."""

    num_prefix_tokens = 0

    def __init__(self, point: ScalePoint) -> None:
        super().__init__()
        from shared_tmu.models.config import ViTConfig
        from shared_tmu.models.vit import Block

        config = ViTConfig(embed_dim=point.width, num_heads=point.num_heads, depth=point.depth)
        self.blocks = nn.Sequential(*(Block(config, 0.0) for _ in range(point.depth)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


def measure_scale(settings: ScaleSettings, folder: Path) -> Iterator[dict[str, Any]]:
    """One record per point, axis by axis.

    Times are relative to the first point of their axis; `latency_ms` has the times themselves.

    Args:
        settings: how to measure.
        folder: a folder inside the checkout whose commit is recorded.
    """
    facts = {
        "kind": "scale",
        "device": str(settings.device),
        "dtype": str(settings.dtype).removeprefix("torch."),
        **describe_environment(settings.device, folder),
    }
    for axis, values in (settings.axes or AXES).items():
        first: dict[str, float] = {}
        for value in values:
            record = measure_point(replace(ScalePoint(), **{axis: value}), settings)
            first = first or {name: record[name][0] for name in ("off_ms", "merged_ms", "matching_ms")}
            growth = {f"{name}_growth": record[name][0] / start for name, start in first.items()}
            yield {**facts, "axis": axis, "value": value, **record, **growth}


@torch.inference_mode()
def measure_point(point: ScalePoint, settings: ScaleSettings) -> dict[str, Any]:
    """Times and memory of the trunk unpatched, merged, as its slicing floor, and of one matching."""
    device = settings.device
    with torch.inference_mode(False):
        trunk = build_random(lambda: _Trunk(point)).to(device, settings.dtype)
        merged, floor = share_weights(trunk), share_weights(trunk)
    patch(merged, point.schedule)
    patch(floor, point.schedule)
    make_floor(floor)
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(point.batch, point.tokens, point.width, generator=draws).to(device, settings.dtype)
    metric = x[..., : point.width // point.num_heads].contiguous()
    r = int(point.schedule.per_layer(point.depth)[0])
    calls = {
        "off": lambda: trunk(x),
        "merged": lambda: merged(x),
        "floor": lambda: floor(x),
        "matching": lambda: plan_merge(metric, r).source_map,
    }
    memory = {f"{name}_peak_mib": peak_memory_mib(call, device) for name, call in calls.items()}
    times = measure_calls(calls, device, rounds=settings.rounds, warmup=1, budget_s=settings.budget_s)
    gain, cost = compare_times(times["off"], times["merged"]), compare_times(times["merged"], times["floor"])
    sources = point.tokens - point.tokens // 2
    return {
        **{name: getattr(point, name) for name in ("tokens", "batch", "depth", "width", "num_heads")},
        "schedule": str(point.schedule),
        "tokens_kept": point.schedule.token_counts(point.depth, point.tokens)[-1],
        "speedup": gain.speedup,
        "speedup_quartiles": list(gain.quartiles),
        "overhead": cost.speedup - 1,
        "overhead_quartiles": [ratio - 1 for ratio in cost.quartiles],
        "score_matrix_mib": 4 * sources * (point.tokens // 2) / 2**20,
        **{
            f"{name}_ms": [1000 * t.median_s, *(1000 * q for q in t.quartiles_s)] for name, t in times.items()
        },
        **memory,
    }
