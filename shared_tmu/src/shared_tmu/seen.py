"""What a method may read of the block in which it acts: only what its row of the table lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any

import torch
from torch import Tensor, nn

from .errors import MethodError, PlanError
from .matching import MAX_SCORES, without_autocast
from .ops import sum_dtype
from .plan import MergePlan
from .reductions import Reduction, Route

Grid = tuple[int, int]


class Needs(Flag):
    """What a method reads; anything that it does not list is neither kept nor computed.

    * `TOKENS`: the features in `seen.x` (every method may read its shape);
    * `SIZES`: how many original tokens each stands for. Without it no sizes are kept: means are not weighted,
      and attention is not proportional;
    * `NORMED`, `QUERIES`, `KEYS`, `VALUES`: the inputs of attention; `KEYS` also gives the metric;
    * `ROWS`: some rows of the attention map, computed on demand, in addition to the fused kernel;
    * `MAP`: the whole attention map. Attention is then computed without the fused kernel, from this map.
    """

    NOTHING = 0
    TOKENS = auto()
    SIZES = auto()
    NORMED = auto()
    QUERIES = auto()
    KEYS = auto()
    VALUES = auto()
    ROWS = auto()
    MAP = auto()


class Watch:
    """Observer of a running trunk; derive from it and override the methods for the events that you need."""

    def call(self, part: str, function: Any, *arguments: Any) -> Any:
        """Run a part: `attention`, `MLP`, `matching`, `merging` or `unmerging`."""
        return function(*arguments)

    def planned(self, seen: Seen, reduction: Reduction) -> None:
        """Called after a method has decided, and before the tokens are reduced."""


@dataclass(frozen=True, eq=False)
class Applied:
    """One reduction of a forward pass, kept for a restore that asks for its history.

    Attributes:
        reduction: what was done.
        before: the tokens before it, `[B, N, C]`.
        after: the slots after it, `[B, M, C]`.
    """

    reduction: Reduction
    before: Tensor
    after: Tensor


@dataclass(eq=False)
class Seen:
    """One block in one forward pass. A step reads it, and stores the resulting tokens and sizes in it.

    Attributes:
        x: the current tokens `[B, N, C]`: those that enter the block, later those after its attention, and so
            on.
        size: original tokens per token, `[B, N]`; None for ones, and where the method lists no `SIZES`.
        layer: number of the block, from 0, of `depth`.
        num_prefix_tokens: T tokens at the front that stay first, and are never merged or pruned.
        protected: further tokens to protect while there are others, `[B, N]` bool; None for none.
        proportional: whether attention is proportional (weights keys by their size).
        grid: rows and columns of the patches, if they are known.
        thresholds: numbers for this block, of schedules that give no counts.
        learned: the method's own module, for one that learns.
        route: from the first tokens of the trunk to these; None before the first reduction.
    """

    x: Tensor
    size: Tensor | None = None
    layer: int = 0
    depth: int = 1
    num_prefix_tokens: int = 0
    protected: Tensor | None = None
    proportional: bool = True
    grid: Grid | None = None
    thresholds: tuple[float, ...] = ()
    learned: nn.Module | None = None
    route: Route | None = None
    method: str = "this method"
    needs: Needs = Needs.NOTHING
    watch: Watch | None = None
    scale: float | None = None
    reduction: Reduction | None = None
    keeps_history: bool = False
    history: tuple[Applied, ...] = ()
    parts: dict[Needs, Tensor] = field(default_factory=dict)

    @classmethod
    def of_metric(
        cls, metric: Tensor, num_prefix_tokens: int, protected: Tensor | None, method: str, needs: Needs
    ) -> Seen:
        """The input of a method outside of a trunk: a metric `[B, N, D]`, in place of the keys."""
        seen = cls(metric, num_prefix_tokens=num_prefix_tokens, protected=protected)
        seen.method, seen.needs, seen.parts = method, needs, {Needs.KEYS: metric.unsqueeze(1)}
        return seen

    @property
    def live(self) -> Tensor | None:
        """Which tokens are not padding, `[B, N]` bool; None if all are."""
        is_padded = isinstance(self.route, MergePlan) and self.route.is_padded
        return None if not is_padded or self.size is None else self.size > 0

    @property
    def weights(self) -> Tensor | None:
        """Sizes for proportional attention, `[B, N]`: 0 for padding; None for plain attention."""
        if self.proportional or self.size is None:
            return self.size
        live = self.live
        return None if live is None else live.to(self.size.dtype)

    @property
    def metric(self) -> Tensor:
        """Features for comparing tokens: keys averaged over heads, `[B, N, D]`, float32, without gradient."""
        return mean_keys(self.get(Needs.KEYS))

    @property
    def keys(self) -> Tensor:
        """`[B, H, N, D]`."""
        return self.get(Needs.KEYS)

    @property
    def queries(self) -> Tensor:
        """`[B, H, N, D]`."""
        return self.get(Needs.QUERIES)

    @property
    def values(self) -> Tensor:
        """`[B, H, N, D]`."""
        return self.get(Needs.VALUES)

    @property
    def normed(self) -> Tensor:
        """The input of attention, `norm1(x)`, `[B, N, C]`."""
        return self.get(Needs.NORMED)

    @property
    def attention(self) -> Tensor:
        """The attention map, `[B, H, N, N]`: rows add up to 1."""
        return self.get(Needs.MAP)

    def attention_received(self, rows: slice = slice(None)) -> Tensor:
        """Attention that every token gets from some queries, mean over heads and queries, `[B, N]`, float32.

        Only a few rows are in memory at a time, without gradient. Queries that are padding are not counted.

        Args:
            rows: queries, such as `slice(0, 1)` for the class token's.
        """
        self._require(Needs.ROWS)
        q, k = self.parts[Needs.QUERIES][:, :, rows], self.parts[Needs.KEYS]
        scale = k.shape[-1] ** -0.5 if self.scale is None else self.scale
        live = self.live
        return _mean_rows(q, k, scale, self.weights, None if live is None else live[:, rows])

    def get(self, part: Needs) -> Tensor:
        """One of the tensors that the method lists.

        Raises:
            MethodError: its row does not list it, or attention has not run yet.
        """
        self._require(part)
        if part not in self.parts:
            raise MethodError(f"{self.method!r} reads {part.name} before attention has run in this block.")
        return self.parts[part]

    def keep(self, normed: Tensor, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Keep the tensors that the method lists."""
        needs = self.needs
        wanted = needs | (Needs.QUERIES | Needs.KEYS if needs & (Needs.ROWS | Needs.MAP) else Needs.NOTHING)
        for part, tensor in (
            (Needs.NORMED, normed), (Needs.QUERIES, q), (Needs.KEYS, k), (Needs.VALUES, v),
        ):  # fmt: skip
            if part in wanted:
                self.parts[part] = tensor

    def run(self, part: str, function: Any, *arguments: Any) -> Any:
        """Call a function; if there is an observer, its time is counted for a part."""
        return function(*arguments) if self.watch is None else self.watch.call(part, function, *arguments)

    def accept(self, reduction: Reduction) -> None:
        """Reduce tokens and sizes; from here on the tokens are the slots."""
        if self.watch is not None:
            self.watch.planned(self, reduction)
        before = self.x
        self.x, size, self.route = self.run("merging", reduction.follow, self.x, self.size, self.route)
        is_padded = isinstance(self.route, MergePlan) and self.route.is_padded
        self.size = size if is_padded or Needs.SIZES in self.needs else None
        if self.protected is not None:
            self.protected = reduction.carry(self.protected)
        if self.keeps_history:
            self.history = (*self.history, Applied(reduction, before, self.x))
        self.reduction = reduction

    def _require(self, part: Needs) -> None:
        if part not in self.needs:
            raise MethodError(
                f"{self.method!r} reads {part.name}, which its row of the table does not list: add "
                f"Needs.{part.name} to its needs."
            )


def fit_mask(mask: Tensor, batch_size: int, num_tokens: int, num_prefix_tokens: int) -> Tensor:
    """A mask of tokens to protect, as `[B, N]` bool.

    Args:
        mask: bool, for all N tokens or for those after the prefix; `[N]`, `[1, N]` or `[B, N]`.
        batch_size: B.
        num_tokens: N.
        num_prefix_tokens: T.

    Raises:
        PlanError: it is not bool, or fits neither.
    """
    if mask.dtype != torch.bool:
        raise PlanError(f"a mask of tokens to protect is bool, this one is {mask.dtype}: compare it first.")
    wide = mask.unsqueeze(0) if mask.ndim == 1 else mask
    if wide.ndim == 2 and wide.shape[1] == num_tokens - num_prefix_tokens:
        wide = torch.nn.functional.pad(wide, (num_prefix_tokens, 0))
    if wide.ndim != 2 or wide.shape[0] not in (1, batch_size) or wide.shape[1] != num_tokens:
        raise PlanError(
            f"a mask of tokens to protect is [B, N] = {[batch_size, num_tokens]}, or that without the "
            f"{num_prefix_tokens} prefix tokens, this one is {list(mask.shape)}."
        )
    return wide.expand(batch_size, -1)


@torch.no_grad()
def mean_keys(keys: Tensor) -> Tensor:
    """The metric: keys `[B, H, N, D]` averaged over heads, `[B, N, D]`, in float32 (float64 for float64)."""
    return keys.mean(dim=1, dtype=sum_dtype(keys))


@torch.no_grad()
def _mean_rows(q: Tensor, k: Tensor, scale: float, weights: Tensor | None, live: Tensor | None) -> Tensor:
    """Mean over heads and queries of `softmax(q k + log(weights))`, `[B, N]`.

    Args:
        q: queries, `[B, H, R, D]`.
        k: keys, `[B, H, N, D]`.
        scale: factor on the logits.
        weights: sizes of the keys, `[B, N]`, or None.
        live: which queries count, `[B, R]` bool, or None for all.
    """
    dtype = sum_dtype(q)
    keys = k.to(dtype).mT * scale
    bias = None if weights is None else weights.to(dtype).log()[:, None, None]
    total = keys.new_zeros(k.shape[0], k.shape[2])
    step = max(1, MAX_SCORES // max(1, k.shape[0] * k.shape[1] * k.shape[2]))
    for first in range(0, q.shape[2], step):
        part = slice(first, first + step)
        with without_autocast(q.device):
            logits = q[:, :, part].to(dtype) @ keys  # [B, H, R, N]
        shares = (logits if bias is None else logits + bias).softmax(-1).mean(1)
        total = total + (shares if live is None else shares * live[:, part].unsqueeze(2)).sum(1)
    counted = q.shape[2] if live is None else live.sum(1, keepdim=True)
    return total / counted
