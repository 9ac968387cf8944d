"""The values of a block that a method can read: only those that its row of the table lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..blocks.positions import Positions
from ..errors import MethodError
from ..plans.plan import MergePlan
from ..plans.ragged import find_live
from .attention_rows import mean_keys, mean_rows
from .held import Holding
from .protection import WEIGHT, to_flags
from .reductions import Applied, Reduction, Route, require_reduction

Grid = tuple[int, int]
Module = TypeVar("Module", bound=nn.Module)


class Needs(Flag):
    """Values that a method reads; values that it does not list are neither kept nor computed.

    * `TOKENS`: the features in `seen.x` (every method may read `seen.shape`);
    * `SIZES`: the number of original tokens that each token stands for. Without it no sizes are kept: means
      are not weighted, and attention is not proportional;
    * `NORMED`, `QUERIES`, `KEYS`, `VALUES`: the inputs of attention; `KEYS` also gives the metric;
    * `ROWS`: some rows of the attention map, computed on demand, in addition to the fused kernel;
    * `MAP`: the whole attention map. Attention is then computed without the fused kernel, from this map;
    * `GRID`: rows and columns of the patches, without which the method cannot run.
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
    GRID = auto()


PER_TOKEN = Needs.NORMED | Needs.QUERIES | Needs.KEYS | Needs.VALUES
"""The inputs of attention, which have one row per token."""
OF_ATTENTION = PER_TOKEN | Needs.ROWS | Needs.MAP
"""Values that are known only after attention has run."""


class Watch:
    """Observer of a running trunk; derive from it and override the methods for the events that you need."""

    def call(self, part: str, function: Any, *arguments: Any) -> Any:
        """Run a part: `attention`, `MLP`, `matching`, `merging` or `unmerging`."""
        return function(*arguments)

    def planned(self, seen: Seen, reduction: Reduction) -> None:
        """Called after a method has decided, and before the tokens are reduced."""


@dataclass(eq=False)
class Seen:
    """One block in one forward pass. A step reads it, and stores the resulting tokens and sizes in it.

    Attributes:
        tokens: the tokens at this point of the block, `[B, N, C]`; methods that need them read them as `x`.
        sizes: original tokens per token, `[B, N]`; None for ones, and if the method does not list `SIZES`.
            Methods read them as `size`.
        layer: number of the block, from 0, of `depth`.
        num_prefix_tokens: T tokens at the front that stay first, and are never merged or pruned.
        mask: further tokens to protect, `[B, N]` bool or float, see `protection`; None for none. Methods that
            compare similarities by `plans.matching` read it, all others `protected`.
        proportional: whether attention is proportional (weights keys by their size).
        grid: rows and columns of the patches, if they are known.
        thresholds: numbers for this block, for schedules of thresholds.
        learned: the method's own module, for one that learns; `read_learned` gives it with its type.
        route: route from the first tokens of the trunk to these; None before the first reduction.
        held: plans to use again; None for none.
        where: positions of the current tokens; None for attention that does not depend on them.
        certain: weight in `mask` of tokens that surely show the subject.
    """

    tokens: Tensor
    sizes: Tensor | None = None
    layer: int = 0
    depth: int = 1
    num_prefix_tokens: int = 0
    mask: Tensor | None = None
    proportional: bool = True
    grid: Grid | None = None
    thresholds: tuple[float, ...] = ()
    learned: nn.Module | None = None
    route: Route | None = None
    held: Holding | None = None
    method: str = "this method"
    needs: Needs = Needs.NOTHING
    watch: Watch | None = None
    scale: float | None = None
    reduction: Reduction | None = None
    keeps_history: bool = False
    history: tuple[Applied, ...] = ()
    where: Positions | None = None
    certain: float = WEIGHT
    parts: dict[Needs, Tensor] = field(default_factory=dict)

    @classmethod
    def of_metric(
        cls, metric: Tensor, num_prefix_tokens: int, protected: Tensor | None, method: str, needs: Needs
    ) -> Seen:
        """The input of a method outside a trunk: a metric `[B, N, D]`, in place of the keys."""
        seen = cls(metric, None, 0, 1, num_prefix_tokens, protected, method=method, needs=needs)
        seen.parts = {Needs.KEYS: metric.unsqueeze(1)}
        return seen

    @property
    def x(self) -> Tensor:
        """The current tokens, `[B, N, C]`. If only their shape or device is needed: `shape`, `device`."""
        self._require(Needs.TOKENS)
        return self.tokens

    @x.setter
    def x(self, tokens: Tensor) -> None:
        self.tokens = tokens

    @property
    def size(self) -> Tensor | None:
        """Original tokens per token, `[B, N]`; None for ones."""
        self._require(Needs.SIZES)
        return self.sizes

    @property
    def shape(self) -> tuple[int, int]:
        """B and N, images and current tokens."""
        return self.tokens.shape[0], self.tokens.shape[1]

    @property
    def device(self) -> torch.device:
        """The device of the tokens."""
        return self.tokens.device

    @property
    def protected(self) -> Tensor | None:
        """Tokens to protect as long as there are others, `[B, N]` bool; None for none."""
        return None if self.mask is None else to_flags(self.mask, self.certain)

    @property
    def live(self) -> Tensor | None:
        """Which tokens are not padding, `[B, N]` bool; None if all are."""
        return find_live(self.route, self.sizes)

    @property
    def weights(self) -> Tensor | None:
        """Sizes for proportional attention, `[B, N]`: 0 for padding; None for plain attention."""
        if self.proportional or self.sizes is None:
            return self.sizes
        live = self.live
        return None if live is None else live.to(self.sizes.dtype)

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
        q, k = self._find(Needs.QUERIES)[:, :, rows], self._find(Needs.KEYS)
        scale = k.shape[-1] ** -0.5 if self.scale is None else self.scale
        live = None if self.live is None else self.live[:, rows]
        pairs = None if self.where is None else self.where.logits(rows)
        return mean_rows(q, k, scale, self.weights, live, pairs)

    def get(self, part: Needs) -> Tensor:
        """One of the tensors that the method lists.

        Raises:
            MethodError: its row does not list it, attention has not run, or the tokens were reduced since.
        """
        self._require(part)
        return self._find(part)

    def _find(self, part: Needs) -> Tensor:
        if part in self.parts:
            return self.parts[part]
        if self.reduction is None:
            raise MethodError(f"{self.method!r} reads {part.name} before attention has run in this block.")
        raise MethodError(
            f"{self.method!r} reads {part.name} after it has reduced the tokens of this block, but these "
            "values belong to the tokens before: read it first, use the new tokens in seen.x, or let "
            "compress(..., carry=Needs.KEYS) reduce keys, queries, values or the normed input like the "
            "tokens (an attention map cannot be carried)."
        )

    def read_learned(self, kind: type[Module]) -> Module:
        """The method's own module, `seen.read_learned(MyModule)`.

        Raises:
            MethodError: there is none, or it has another class.
        """
        if not isinstance(self.learned, kind):
            raise MethodError(
                f"{self.method!r} reads a learned {kind.__name__}, but was given "
                f"{'nothing' if self.learned is None else type(self.learned).__name__}: the `learn` of its "
                "row must return one."
            )
        return self.learned

    def keep(self, normed: Tensor, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Keep the tensors that the method lists."""
        wanted = (needs := self.needs) | (
            Needs.QUERIES | Needs.KEYS if needs & (Needs.ROWS | Needs.MAP) else Needs.NOTHING
        )
        known = {Needs.NORMED: normed, Needs.QUERIES: q, Needs.KEYS: k, Needs.VALUES: v}
        self.parts.update({part: tensor for part, tensor in known.items() if part in wanted})

    def run(self, part: str, function: Any, *arguments: Any) -> Any:
        """Call a function; if there is an observer, its time is counted for a part."""
        return function(*arguments) if self.watch is None else self.watch.call(part, function, *arguments)

    def accept(self, reduction: Reduction, carry: Needs = Needs.NOTHING) -> None:
        """Reduce tokens and sizes; from here on the tokens are the slots.

        Queries, keys and the like belong to the tokens before: they are dropped, except those to carry.

        Args:
            reduction: the reduction that the method decided.
            carry: which of `NORMED`, `QUERIES`, `KEYS`, `VALUES` to reduce like the tokens.

        Raises:
            MethodError: this is not a reduction, or a value to carry does not exist or has no row per token.
        """
        require_reduction(reduction, self.method)
        before = self.tokens
        if self.watch is not None:
            self.watch.planned(self, reduction)
        carried = {part: self._carry(reduction, part) for part in carry} if carry else {}
        self.tokens, size, self.route = self.run("merging", reduction.follow, before, self.sizes, self.route)
        if self.where is not None:
            self.where = self.where.follow(reduction.route)
        is_padded = isinstance(self.route, MergePlan) and self.route.is_padded
        self.sizes = size if is_padded or Needs.SIZES in self.needs else None
        self.mask = None if self.mask is None else reduction.carry(self.mask)
        if self.keeps_history:
            self.history = (*self.history, Applied(reduction, before, self.tokens))
        self.reduction, self.parts = reduction, carried

    def _carry(self, reduction: Reduction, part: Needs) -> Tensor:
        if part not in PER_TOKEN:
            raise MethodError(
                f"{self.method!r} carries {part.name}, which does not have one row per token: carry only "
                "NORMED, QUERIES, KEYS or VALUES."
            )
        if (rows := self.get(part)).ndim == 3:
            return reduction.reduce(rows, self.sizes)[0]
        batch, heads, _, width = rows.shape
        short, _ = reduction.reduce(rows.transpose(1, 2).flatten(2), self.sizes)  # [B, M, H * D]
        return short.view(batch, -1, heads, width).transpose(1, 2)

    def _require(self, part: Needs) -> None:
        if part not in self.needs:
            raise MethodError(
                f"{self.method!r} reads {part.name}, which its row of the table does not list: add "
                f"Needs.{part.name} to its needs."
            )
