"""Schedules: how many tokens each layer removes. One object for the command line, file names, tables and
plots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from .errors import ScheduleError
from .schedule_rules import divide_as_opentome, incline, spread
from .schedule_text import (
    Ask,
    Fields,
    of_list,
    of_pair,
    of_terms,
    read_ask,
    read_count,
    read_text,
    to_python,
    write_text,
)

Limit = Callable[[int, int], int]
"""Gives the largest number of tokens that a method can remove in one block, from N tokens of which T are
prefix tokens.
"""


def half(num_tokens: int, num_prefix_tokens: int) -> int:
    """The limit of methods that merge one half of the tokens into the other."""
    return max(num_tokens - num_prefix_tokens, 0) // 2


def all_but_one(num_tokens: int, num_prefix_tokens: int) -> int:
    """The limit of methods that need only one remaining token after the prefix: clustering, pruning."""
    return max(num_tokens - num_prefix_tokens - 1, 0)


@dataclass(frozen=True)
class Schedule:
    """Tokens to remove per layer; `Schedule.parse` reads one, `str` writes it.

    Eight forms, each with one canonical text:

    * `"off"`: nothing merges.
    * `"10x8+6x8"`: 10 in each of the first 8 layers, 6 in the next 8, nothing after. Lists become this form.
    * `"8"`: 8 in every layer, whatever the depth.
    * `"8@-1"`: ToMe's pair `(8, -1.0)`, 8 on average, rising (inflection up to 1) or falling (down to -1)
      linearly.
    * `"0.9x12"`: 0.9 of the tokens that may merge are kept in each of 12 layers, `"0.9"` in every layer.
      Counts and shares may be mixed: `"5x4+0.9x8"`. Of n tokens (prefix tokens not counted) a layer keeps
      n * share, rounded up, and removes the rest: n - n * share, rounded down, in exact decimals.
    * `"total:98"`: 98 in all layers together, as many in each; `"total:98@-1"` falling linearly,
      `"total:98^2"` late, in proportion to (l / L)^2. The sum over the first layers is rounded to whole
      tokens (halves up), and a layer removes what it adds: the sum over all is exact.
    * `"opentome:98@-0.5"`: OpenToMe's rule for a total, inflection -1 to 2: the nearest pair, and the whole
      remainder in the first layer if falling, else in the last. Where the rule gives a negative number,
      nothing is removed, as in OpenToMe; then the sum is not exact.
    * `"threshold:0.9x12"`: thresholds, for methods whose number of removed tokens depends on a threshold;
    `"0.9/0.01"` for two thresholds per layer.

    Attributes:
        terms: (ask, layers) runs of the listed forms, without trailing zeros; empty for the other forms.
        every: setting of every layer, in forms that do not list layers; 0 otherwise.
        inflection: slope of a pair or of a total, 0.0 otherwise.
        total: tokens of a total, 0 otherwise.
        power: exponent of a late total, 0.0 otherwise.
        is_opentome: whether OpenToMe's rule divides the total.
    """

    terms: tuple[tuple[Ask, int], ...] = ()
    every: Ask = 0
    inflection: float = 0.0
    total: int = 0
    power: float = 0.0
    is_opentome: bool = False

    @classmethod
    def parse(cls, value: Any) -> Schedule:
        """Read text, an integer, a share, ToMe's `(r, inflection)` tuple, or a list with one r per layer;
        nothing is removed after its end.

        Numbers may be of numpy or torch types. A tuple always means the pair; a list (array, tensor, range)
        never does. Upper case and blanks around terms are accepted; `Schedule.parse(str(s)) == s` for every
        schedule.

        Raises:
            ScheduleError: a number is negative or fractional, or the text cannot be parsed; the message
                quotes the wrong piece.
        """
        if isinstance(value, Schedule):
            return value
        return cls(*cls._read(value))

    @staticmethod
    def _read(value: Any) -> Fields:
        if isinstance(value, str):
            return read_text(value)
        value = to_python(value)
        if isinstance(value, tuple):
            if len(value) != 2:
                raise ScheduleError(
                    f"cannot read {value!r} as a schedule: a tuple means the pair (r, inflection); use a "
                    "list for one r per layer."
                )
            return of_pair(read_count(value[0], value), value[1], value)
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            return of_list([read_ask(r, value) for r in value])
        return Fields(every=read_ask(value, value))

    def __str__(self) -> str:
        fields = self.terms, self.every, self.inflection, self.total, self.power, self.is_opentome
        return write_text(Fields(*fields))

    def __repr__(self) -> str:
        return f"Schedule({str(self)!r})"

    @property
    def is_off(self) -> bool:
        """Whether no layer removes any tokens."""
        return not self.terms and not self.every and not self.total

    @property
    def reads_thresholds(self) -> bool:
        """Whether layers are given thresholds instead of counts."""
        return self.num_thresholds > 0

    @property
    def num_thresholds(self) -> int:
        """The most numbers that a layer is given; 0 for schedules of counts."""
        asks = (self.every, *(ask for ask, _ in self.terms))
        return max(len(ask) if isinstance(ask, tuple) else 0 for ask in asks)

    @property
    def num_layers(self) -> int | None:
        """Number of layers that the schedule lists, up to the last one that merges; None if it fits any
        depth."""
        return sum(layers for _, layers in self.terms) if self.terms or self.is_off else None

    def per_layer(self, depth: int) -> list[Any]:
        """The setting of each of `depth` layers: tokens to remove, the share to keep, or thresholds.

        For a pair this is ToMe's published rule, truncation included: the sum may be a little less than r *
        depth. With a single layer, where that rule divides by zero, the layer gets r. The method's limit
        comes later.

        Raises:
            ScheduleError: the schedule names more layers than there are.
        """
        if self.terms:
            named = sum(layers for _, layers in self.terms)
            if named > depth:
                raise ScheduleError(
                    f"schedule '{self}' names {named} layers, this trunk has {depth}: use at most "
                    f"'{self._cut(depth)}'."
                )
            return [ask for ask, layers in self.terms for _ in range(layers)] + [0] * (depth - named)
        if self.is_opentome:
            return [max(r, 0) for r in divide_as_opentome(self.total, self.inflection, depth)]
        if self.total:
            return spread(self.total, self.inflection, self.power, depth)
        if not self.inflection:
            return [self.every] * depth
        assert isinstance(self.every, int)
        return incline(self.every, self.inflection, depth)

    def token_counts(
        self,
        depth: int,
        num_tokens: int,
        num_prefix_tokens: int = 0,
        limit: Limit = half,
        *,
        shares_all: bool = False,
    ) -> list[int]:
        """Tokens before the first of `depth` layers and after each of them, `depth + 1` numbers.

        Args:
            depth: layers of the trunk.
            num_tokens: tokens that enter it, prefix tokens included.
            num_prefix_tokens: tokens at the front that never merge.
            limit: limit of the method; default: ToMe's.
            shares_all: property of the method: shares refer to all tokens, including prefix tokens.

        Raises:
            ScheduleError: the schedule names more layers than there are, there are fewer tokens than prefix
                tokens, or the counts depend on the images.
        """
        if not 0 <= num_prefix_tokens <= num_tokens:
            raise ScheduleError(
                f"{num_prefix_tokens} prefix tokens of {num_tokens} tokens: use 0 to {num_tokens}."
            )
        if self.reads_thresholds:
            raise ScheduleError(
                f"with schedule '{self}' token counts depend on the images: run the model to get them."
            )
        counts = [num_tokens]
        for ask in self.per_layer(depth):
            removed = count_removed(ask, counts[-1], num_prefix_tokens, limit, shares_all)
            counts.append(counts[-1] - removed)
        return counts

    @classmethod
    def keeping(cls, counts: Mapping[int, int], num_tokens: int, num_prefix_tokens: int = 0) -> Schedule:
        """The schedule that leaves given numbers of tokens, the form in which ATC and DiffRate publish it.

        Args:
            counts: tokens left after some layers, by the number of the layer, without the prefix.
            num_tokens: tokens before the first layer, prefix tokens included.
            num_prefix_tokens: T; 0 if `counts` include the prefix tokens, as DiffRate's do (ATC's do not).

        Raises:
            ScheduleError: a layer would add tokens, or leave none.
        """
        asks, left = [0] * (max(counts, default=-1) + 1), num_tokens - num_prefix_tokens
        for layer in sorted(counts):
            if layer < 0 or not 0 < counts[layer] <= left:
                raise ScheduleError(
                    f"layer {layer} cannot keep {counts[layer]} tokens, because {left} enter it: use 1 to "
                    f"{left}, and layers from 0 on."
                )
            asks[layer], left = left - counts[layer], counts[layer]
        return cls(*of_list(asks))

    def _cut(self, depth: int) -> Schedule:
        terms, left = [], depth
        for ask, layers in self.terms:
            terms.append((ask, min(layers, left)))
            left -= terms[-1][1]
        return Schedule(*of_terms([term for term in terms if term[1]]))


def count_removed(
    ask: Ask, num_tokens: int, num_prefix_tokens: int, limit: Limit, shares_all: bool = False
) -> int:
    """The number of tokens that a layer removes: the schedule's number, within the limit of the method.

    For thresholds it is the limit. `shares_all`: shares refer to all tokens, not only to those after the
    prefix.
    """
    most = limit(num_tokens, num_prefix_tokens)
    if isinstance(ask, int):
        return min(ask, most)
    if isinstance(ask, tuple):
        return most
    counted = num_tokens if shares_all else max(num_tokens - num_prefix_tokens, 0)
    return min(removed_by_share(ask, counted), most)


@lru_cache(maxsize=1024)
def removed_by_share(share: float, num_tokens: int) -> int:
    """n - n * share, rounded down, computed with the decimal as written: 0.07 of 100 keeps 7."""
    return math.floor(num_tokens - num_tokens * Fraction(repr(share)))
