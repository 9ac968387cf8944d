"""How many tokens each layer removes: one object for the command line, file names, tables and plots."""

from __future__ import annotations

import logging
import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

from .errors import ScheduleError
from .flops import LayerCost, TrunkShape, count_costs

_log = logging.getLogger(__name__)

_FORMS = (
    "expected 'off', '<r>x<layers>' terms joined by '+', e.g. '10x8+6x8', '<r>' for every layer, "
    "or '<r>@<inflection>', e.g. '8@-1'"
)
_TERMS = "expected '<r>x<layers>' terms joined by '+', e.g. '10x8+6x8'"
_TERM = re.compile(r"([0-9]{1,9})[xX]([0-9]{1,9})")
_NUMBER = re.compile(r"[0-9]{1,9}")
_PAIR = re.compile(r"([0-9]{1,9})@([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")


@dataclass(frozen=True)
class Schedule:
    """Tokens to remove per layer; make one with `Schedule.parse`, read it back with `str`.

    Four forms, each with one canonical text:

    * `"off"`: nothing merges.
    * `"10x8+6x8"`: 10 in each of the first 8 layers, 6 in the next 8, nothing after. Lists become this form.
    * `"8"`: 8 in every layer, whatever the depth.
    * `"8@-1"`: ToMe's pair `(8, -1.0)`, 8 on average, rising (inflection up to 1) or falling (down to -1)
      linearly.

    Attributes:
        terms: (r, layers) runs of the listed form, without trailing zeros; empty for the other forms.
        every: r of the last two forms, 0 otherwise.
        inflection: slope of the last form, 0.0 otherwise.
    """

    terms: tuple[tuple[int, int], ...] = ()
    every: int = 0
    inflection: float = 0.0

    @classmethod
    def parse(cls, value: Any) -> Schedule:
        """Read text, an integer, ToMe's `(r, inflection)` tuple, or a list with one r per layer.

        Integers may be numpy's or torch's. A tuple is always the pair, a list (array, tensor, range) never.
        Upper case and blanks around terms are accepted; `Schedule.parse(str(s)) == s` for every schedule.

        Raises:
            ScheduleError: negative, fractional or unreadable; the message quotes the offending piece.
        """
        if isinstance(value, Schedule):
            return value
        if isinstance(value, str):
            return cls._from_text(value)
        if hasattr(value, "tolist"):  # numpy and torch, scalars as well as arrays
            value = value.tolist()
        if isinstance(value, tuple):
            if len(value) != 2:
                raise ScheduleError(
                    f"cannot read {value!r} as a schedule: a tuple is the pair (r, inflection), "
                    "use a list for one r per layer."
                )
            return cls._from_pair(read_count(value[0], value), value[1], value)
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            return cls._from_list([read_count(r, value) for r in value])
        return cls._from_pair(read_count(value, value), 0.0, value)

    @classmethod
    def _from_text(cls, text: str) -> Schedule:
        bare = text.strip()
        if bare.lower() == "off":
            return cls()
        if _NUMBER.fullmatch(bare):
            return cls._from_pair(int(bare), 0.0, text)
        if pair := _PAIR.fullmatch(bare):
            return cls._from_pair(int(pair[1]), float(pair[2]), text)
        if not bare:
            raise ScheduleError(f"cannot read the empty schedule {text!r}: {_FORMS}.")
        terms = []
        for piece in bare.split("+"):
            term = _TERM.fullmatch(piece.strip())
            if term is None:
                forms = _TERMS if "+" in bare else _FORMS
                raise ScheduleError(f"cannot read {piece.strip()!r} in schedule {text!r}: {forms}.")
            if int(term[2]) == 0:
                raise ScheduleError(
                    f"{piece.strip()!r} in schedule {text!r} names 0 layers: leave it out, or name some."
                )
            terms.append((int(term[1]), int(term[2])))
        return cls._from_terms(terms)

    @classmethod
    def _from_pair(cls, r: int, inflection: Any, asked: Any) -> Schedule:
        if isinstance(inflection, bool) or not hasattr(inflection, "__float__"):
            raise ScheduleError(
                f"inflection {inflection!r} in schedule {asked!r} is not a number from -1 to 1."
            )
        slope = float(inflection)
        if not -1 <= slope <= 1:  # also false for NaN; beyond it, layers would be asked for a negative r
            raise ScheduleError(
                f"inflection {slope:g} in schedule {asked!r} is outside -1..1: "
                "-1 falls from 2r to 0, 0 is constant, 1 rises from 0 to 2r."
            )
        return cls(every=r, inflection=slope if r and slope else 0.0)

    @classmethod
    def _from_list(cls, counts: Iterable[int]) -> Schedule:
        return cls._from_terms([(r, len(list(run))) for r, run in groupby(counts)])

    @classmethod
    def _from_terms(cls, terms: Iterable[tuple[int, int]]) -> Schedule:
        joined = [(r, sum(n for _, n in run)) for r, run in groupby(terms, key=operator.itemgetter(0))]
        if joined and joined[-1][0] == 0:
            joined.pop()
        return cls(terms=tuple(joined))

    def __str__(self) -> str:
        if self.terms:
            return "+".join(f"{r}x{layers}" for r, layers in self.terms)
        if not self.every:
            return "off"
        if not self.inflection:
            return str(self.every)
        return f"{self.every}@{int(self.inflection) if self.inflection.is_integer() else self.inflection}"

    def __repr__(self) -> str:
        return f"Schedule({str(self)!r})"

    @property
    def is_off(self) -> bool:
        """Whether no layer is asked to merge anything."""
        return not self.terms and not self.every

    @property
    def num_layers(self) -> int | None:
        """Layers the schedule names, up to the last one that merges; None where it fits any depth."""
        return sum(layers for _, layers in self.terms) if self.terms or self.is_off else None

    def per_layer(self, depth: int) -> list[int]:
        """Tokens each of `depth` layers is asked to remove, before ToMe's limit of one half.

        For a pair this is ToMe's published rule, truncation included: the sum may be a little less than r *
        depth. With a single layer, where that rule divides by zero, the layer gets r.

        Raises:
            ScheduleError: the schedule names more layers than there are.
        """
        if self.terms:
            named = sum(layers for _, layers in self.terms)
            if named > depth:
                raise ScheduleError(
                    f"schedule '{self}' names {named} layers, this trunk has {depth}: "
                    f"use at most '{self._cut(depth)}'."
                )
            return [r for r, layers in self.terms for _ in range(layers)] + [0] * (depth - named)
        if not self.inflection or depth == 1:
            return [self.every] * depth
        first = int(self.every * (1 - self.inflection))
        step = (2 * self.every - 2 * first) / (depth - 1)
        return [int(first + layer * step) for layer in range(depth)]

    def token_counts(self, depth: int, num_tokens: int, num_prefix_tokens: int = 0) -> list[int]:
        """Tokens before the first of `depth` layers and after each of them, `depth + 1` numbers.

        Args:
            depth: layers of the trunk.
            num_tokens: tokens that enter it, prefix tokens included.
            num_prefix_tokens: tokens at the front that never merge.

        Raises:
            ScheduleError: the schedule names more layers than there are, or there are fewer tokens than
                prefix tokens.
        """
        if not 0 <= num_prefix_tokens <= num_tokens:
            raise ScheduleError(
                f"{num_prefix_tokens} prefix tokens of {num_tokens} tokens: use 0 to {num_tokens}."
            )
        counts = [num_tokens]
        for r in self.per_layer(depth):
            counts.append(counts[-1] - limit_removal(r, counts[-1], num_prefix_tokens))
        return counts

    def layer_costs(self, shape: TrunkShape) -> list[LayerCost]:
        """Tokens and FLOPs of every block; `sum(cost.flops for cost in ...)` is the trunk's, for one image.

        Raises:
            ScheduleError: as `token_counts`.
        """
        return count_costs(self.token_counts(shape.depth, shape.num_tokens, shape.num_prefix_tokens), shape)

    def _cut(self, depth: int) -> Schedule:
        terms, left = [], depth
        for r, layers in self.terms:
            terms.append((r, min(layers, left)))
            left -= terms[-1][1]
        return Schedule._from_terms([term for term in terms if term[1]])


def limit_removal(r: int, num_tokens: int, num_prefix_tokens: int = 0) -> int:
    """ToMe's rule: at most half of the tokens that may merge can be removed in one layer."""
    return min(r, max(num_tokens - num_prefix_tokens, 0) // 2)


@lru_cache(maxsize=256)
def say_where_limited(schedule: Schedule, depth: int, num_tokens: int, num_prefix_tokens: int) -> None:
    """Log once per process, for one schedule on one trunk, the counts that the limit of one half leaves."""
    counts = schedule.token_counts(depth, num_tokens, num_prefix_tokens)
    asked = schedule.per_layer(depth)
    removed = [before - after for before, after in pairwise(counts)]
    limited = [layer for layer in range(depth) if removed[layer] < asked[layer]]
    if limited:
        first = limited[0]
        _log.warning(
            "schedule '%s' asks layer %d to remove %d tokens, but only half of the %d that may merge there "
            "can: removing %d (limited in %d of %d layers; tokens per layer: %s).",
            schedule,
            first,
            asked[first],
            counts[first] - num_prefix_tokens,
            removed[first],
            len(limited),
            depth,
            " ".join(map(str, counts)),
        )


def read_count(r: Any, asked: Any) -> int:
    """One r as a Python int; `asked`, which may be r itself, is quoted in the error."""
    where = "" if r is asked else f" in schedule {asked!r}"
    if hasattr(r, "tolist"):
        r = r.tolist()
    if isinstance(r, float):
        raise ScheduleError(f"r = {r!r}{where} is not a whole number of tokens: a layer removes 0, 1, 2, ...")
    if isinstance(r, bool) or not hasattr(r, "__index__"):
        raise ScheduleError(f"cannot read {r!r}{where} as a number of tokens: {_FORMS}.")
    count = operator.index(r)
    if count < 0:
        raise ScheduleError(f"r = {count}{where} is negative: a layer removes 0, 1, 2, ... tokens.")
    return count
