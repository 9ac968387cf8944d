"""The grammar of schedules: from text to per-layer settings, and back. `schedule.py` explains the meaning."""

from __future__ import annotations

import hashlib
import operator
import re
import struct
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from .errors import ScheduleError

Ask = int | float | tuple[float, ...]
"""The setting of a layer: tokens to remove, the share (0..1) to keep, or thresholds for the method."""

FORMS = (
    "expected 'off', '<r>x<layers>' terms joined by '+', e.g. '10x8+6x8', '<r>' for every layer, "
    "'<r>@<inflection>', e.g. '8@-1', shares to keep, e.g. '0.9x12', 'total:<tokens>', e.g. 'total:98', "
    "'opentome:<tokens>', or 'threshold:<number>x<layers>'"
)
_TERMS = "expected '<r>x<layers>' terms joined by '+', e.g. '10x8+6x8'"
_LONGEST_NAME = 60
_SHORT = {2: "e", 4: "f"}  # formats of `struct` by size in bytes
_DECIMAL = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_COUNT = re.compile(r"[0-9]{1,9}")
_SHARE = re.compile(r"[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE]-[0-9]+")
_TERM = re.compile(r"(.+)[xX]([0-9]{1,9})")
_PAIR = re.compile(rf"([0-9]{{1,9}})@([+-]?{_DECIMAL})")
_TOTAL = re.compile(rf"([0-9]{{1,9}})(?:@([+-]?{_DECIMAL})|\^({_DECIMAL}))?")
_LEVELS = re.compile(rf"[+-]?{_DECIMAL}(?:/[+-]?{_DECIMAL})*")


class Fields(NamedTuple):
    """The fields of `Schedule`; see there."""

    terms: tuple[tuple[Ask, int], ...] = ()
    every: Ask = 0
    inflection: float = 0.0
    total: int = 0
    power: float = 0.0
    is_opentome: bool = False


def read_text(text: str) -> Fields:
    """Parse the text of a schedule.

    Raises:
        ScheduleError: the message quotes the piece that cannot be read.
    """
    bare = text.strip()
    if not bare:
        raise ScheduleError(f"cannot read the empty schedule {text!r}: {FORMS}.")
    kind, colon, rest = bare.partition(":")
    if colon and kind.strip().lower() == "total":
        return _read_total(rest.strip(), text)
    if colon and kind.strip().lower() == "opentome":
        return _read_opentome(rest.strip(), text)
    if colon and kind.strip().lower() == "threshold":
        return _read_terms(rest.strip(), text, _read_levels)
    if bare.lower() == "off":
        return Fields()
    if pair := _PAIR.fullmatch(bare):
        return of_pair(int(pair[1]), float(pair[2]), text)
    return _read_terms(bare, text, _read_amount)


def _read_terms(bare: str, text: str, read: Any) -> Fields:
    every = read(bare, text)
    if every is not None:
        return Fields(every=every)
    terms: list[tuple[Ask, int]] = []
    for piece in (piece.strip() for piece in bare.split("+")):
        term = _TERM.fullmatch(piece)
        ask = None if term is None else read(term[1], text)
        if term is None or ask is None:
            forms = _TERMS if "+" in bare else FORMS
            raise ScheduleError(f"cannot read {piece!r} in schedule {text!r}: {forms}.")
        if int(term[2]) == 0:
            raise ScheduleError(
                f"{piece!r} in schedule {text!r} has 0 layers: leave it out, or give at least 1 layer."
            )
        terms.append((ask, int(term[2])))
    return of_terms(terms)


def _read_amount(piece: str, text: str) -> Ask | None:
    if _COUNT.fullmatch(piece):
        return int(piece)
    return read_share(float(piece), text) if _SHARE.fullmatch(piece) else None


def _read_levels(piece: str, text: str) -> Ask | None:
    if piece.lower() == "off":
        return 0
    return tuple(float(level) for level in piece.split("/")) if _LEVELS.fullmatch(piece) else None


def read_share(share: float, asked: Any) -> Ask:
    """The setting for a share to keep; a share of 1 means 0 tokens to remove.

    Raises:
        ScheduleError: not above 0, or above 1.
    """
    if not 0 < share <= 1:
        raise ScheduleError(
            f"cannot read '{share:g}' in schedule {asked!r}: a share of tokens to keep is above 0 and at "
            "most 1 (0.9 keeps nine of ten), and a number of tokens to remove is a whole number."
        )
    return share if share < 1 else 0


def _read_total(bare: str, text: str) -> Fields:
    found = _TOTAL.fullmatch(bare)
    if found is None:
        raise ScheduleError(
            f"cannot read {bare!r} in schedule {text!r}: expected 'total:<tokens>', the same in every "
            "layer, 'total:<tokens>@<inflection>', rising or falling, or 'total:<tokens>^<power>', late."
        )
    total = int(found[1])
    if found[2]:
        slope = read_slope(float(found[2]), text)
        return Fields(total=total, inflection=slope if total and slope else 0.0)
    return Fields(total=total, power=float(found[3]) if found[3] and total else 0.0)


def _read_opentome(bare: str, text: str) -> Fields:
    found = _TOTAL.fullmatch(bare)
    if found is None or found[3]:
        raise ScheduleError(
            f"cannot read {bare!r} in schedule {text!r}: expected 'opentome:<tokens>', or "
            "'opentome:<tokens>@<inflection>', e.g. 'opentome:98@-0.5'."
        )
    slope = read_slope(float(found[2]), text, 2) if found[2] else 0.0
    return (
        Fields(total=int(found[1]), inflection=slope or 0.0, is_opentome=True) if int(found[1]) else Fields()
    )


def read_slope(inflection: Any, asked: Any, most: int = 1) -> float:
    """An inflection as a number from -1 to `most`.

    Raises:
        ScheduleError: it is not such a number.
    """
    if isinstance(inflection, bool) or not hasattr(inflection, "__float__"):
        raise ScheduleError(
            f"inflection {inflection!r} in schedule {asked!r} is not a number from -1 to {most}."
        )
    slope = float(inflection)
    if not -1 <= slope <= most:  # also false for NaN; outside this range, layers would get a negative r
        raise ScheduleError(
            f"inflection {slope:g} in schedule {asked!r} is outside -1..{most}: "
            "-1 falls from 2r to 0, 0 is constant, 1 rises from 0 to 2r."
        )
    return slope


def of_pair(r: int, inflection: Any, asked: Any) -> Fields:
    """ToMe's pair: r on average, rising or falling."""
    slope = read_slope(inflection, asked)
    return Fields(every=r, inflection=slope if r and slope else 0.0)


def of_list(asks: Iterable[Ask]) -> Fields:
    """One setting per layer."""
    return of_terms([(ask, len(list(run))) for ask, run in groupby(asks)])


def of_terms(terms: Iterable[tuple[Ask, int]]) -> Fields:
    """Runs of layers with equal settings; layers at the end that remove nothing are left out."""
    joined = [(ask, sum(n for _, n in run)) for ask, run in groupby(terms, key=operator.itemgetter(0))]
    if joined and joined[-1][0] == 0:
        joined.pop()
    return Fields(terms=tuple(joined))


def read_count(r: Any, asked: Any) -> int:
    """One r as a Python int; `asked`, which may be r itself, is quoted in the error."""
    where = "" if r is asked else f" in schedule {asked!r}"
    if hasattr(r, "tolist"):
        r = r.tolist()
    if isinstance(r, float):
        raise ScheduleError(
            f"r = {r!r}{where} is not a whole number of tokens: a layer removes 0, 1, 2, ..., or keeps a "
            "share above 0 and below 1."
        )
    if isinstance(r, bool) or not hasattr(r, "__index__"):
        raise ScheduleError(f"cannot read {r!r}{where} as a number of tokens: {FORMS}.")
    count = operator.index(r)
    if count < 0:
        raise ScheduleError(f"r = {count}{where} is negative: a layer removes 0, 1, 2, ... tokens.")
    return count


def read_ask(value: Any, asked: Any) -> Ask:
    """One layer's entry of a list: a whole number of tokens, or a share between 0 and 1."""
    plain = to_python(value)
    if isinstance(plain, float) and 0 < plain < 1:
        return plain
    return read_count(value, asked)


def to_python(value: Any) -> Any:
    """Numbers of numpy and torch, scalars or arrays, as Python's; shares of short floats as they were
    written: a float32 of 0.6 is 0.6, not 0.6000000238418579, which keeps one token more of ten.
    """
    if not hasattr(value, "tolist"):
        return value
    code = _SHORT.get(getattr(value, "itemsize", 8))
    plain = value.tolist()
    if isinstance(plain, list):
        return [_as_written(number, code) for number in plain]
    return _as_written(plain, code)


def _as_written(number: Any, code: str | None) -> Any:
    if isinstance(number, float) and code is not None and 0 < number < 1:
        for digits in range(1, 10):
            shorter = float(f"{number:.{digits}g}")
            if struct.unpack(code, struct.pack(code, shorter))[0] == number:
                return shorter
    return number


def write_text(fields: Fields) -> str:
    """The canonical text of a schedule."""
    if fields.total:
        shape = f"@{_number(fields.inflection)}" if fields.inflection else ""
        kind = "opentome" if fields.is_opentome else "total"
        return f"{kind}:{fields.total}" + (f"^{_number(fields.power)}" if fields.power else shape)
    asks: Sequence[Ask] = [ask for ask, _ in fields.terms] or [fields.every]
    kind = "threshold:" if any(isinstance(ask, tuple) for ask in asks) else ""
    if fields.terms:
        return kind + "+".join(f"{_ask(ask, kind)}x{layers}" for ask, layers in fields.terms)
    if not fields.every:
        return "off"
    inflection = f"@{_number(fields.inflection)}" if fields.inflection else ""
    return f"{kind}{_ask(fields.every, kind)}{inflection}"


def name_of(text: str) -> str:
    """A canonical text, or, if it is too long for a file name, its layers and a digest:
    `threshold:32-layers-3fa2c1`."""
    if len(text) <= _LONGEST_NAME:
        return text
    kind, colon, terms = text.rpartition(":")
    layers = sum(int(term.rpartition("x")[2]) for term in terms.split("+"))
    return f"{kind}{colon}{layers}-layers-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _ask(ask: Ask, kind: str) -> str:
    if isinstance(ask, tuple):
        return "/".join(_number(level) for level in ask)
    return "off" if kind and not ask else str(ask)


def _number(value: float) -> str:
    return str(int(value) if value.is_integer() and abs(value) < 1e15 else value)
