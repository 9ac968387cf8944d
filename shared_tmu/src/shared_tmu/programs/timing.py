"""Time several variants in turn, so that anything that slows the machine down affects all of them.

A round times every variant ("contender") once; rounds are repeated. The first rounds are discarded (lazy
initialisation, kernel selection), the device is synchronised before and after every call, and the results are
medians and quartiles of the ratios within a round.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import Any, TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Timing:
    """Wall-clock times of one contender, in the order of the rounds.

    Args:
        seconds: one per round, at least one.
    """

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median time of a call in seconds."""
        return median(self.seconds)

    @property
    def quartiles_s(self) -> tuple[float, float]:
        """First and third quartile in seconds: half of the calls lie between them."""
        return _quartiles(self.seconds)

    def per_second(self, items: int) -> float:
        """Items (images) per second, from the median, if each call handles `items` of them."""
        return items / self.median_s


@dataclass(frozen=True)
class Comparison:
    """How much faster one contender is than another, by the ratios within each round.

    Args:
        speedup: their median; above 1 is faster.
        quartiles: first and third quartile.
    """

    speedup: float
    quartiles: tuple[float, float]


def compare_times(baseline: Timing, other: Timing) -> Comparison:
    """Speed-up of `other` over `baseline`, measured in the same rounds.

    The median is taken of ratios: a temporary slow-down of the machine affects both sides of a ratio, but may
    affect more than half of one contender's rounds and less than half of the other's.
    """
    ratios = [a / b for a, b in zip(baseline.seconds, other.seconds, strict=True)]
    return Comparison(median(ratios), _quartiles(ratios))


def measure_in_turn(
    call: Callable[[], object],
    contenders: Mapping[Name, Callable[[], AbstractContextManager[object]]],
    device: torch.device,
    *,
    rounds: int = 50,
    warmup: int = 3,
    budget_s: float = 30.0,
    fewest: int = 5,
) -> dict[Name, Timing]:
    """Time `call` inside each contender's context, in turn: A B, B A, A B, ...; entering the context is not
    timed.

    Every second round runs in reverse order, so that neither drift nor the order favours a contender.

    Args:
        call: what is timed; its result is dropped.
        contenders: by name, functions that make the context for the call, e.g. `lambda: patch(model,
            "5x20")`.
        device: synchronised before and after every call.
        rounds: how often each contender is timed.
        warmup: untimed rounds before these.
        budget_s: stop when the timed rounds have taken this long, entering included, but not before `fewest`
            of them.
        fewest: see `budget_s`.

    Returns:
        One `Timing` per contender, all with the same number of rounds.

    Raises:
        ValueError: no contender, or fewer than one round.
    """
    if not contenders or rounds < 1 or warmup < 0:
        raise ValueError(f"nothing to time: {len(contenders)} contenders, {rounds} rounds, warm-up {warmup}.")
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    order = list(contenders.items())
    started = time.perf_counter()
    with _no_garbage_collection():
        for index in range(warmup + rounds):
            if index == warmup:
                started = time.perf_counter()
            if index >= warmup + min(fewest, rounds) and time.perf_counter() - started > budget_s:
                break
            for name, context in order if index % 2 == 0 else reversed(order):
                with context():
                    elapsed = time_once(call, device)
                if index >= warmup:
                    seconds[name].append(elapsed)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def measure_calls(
    calls: Mapping[Name, Callable[[], object]], device: torch.device, **options: Any
) -> dict[Name, Timing]:
    """`measure_in_turn` for contenders that are functions; `options` are its `rounds` and so on."""
    current: Callable[[], object] | None = None

    @contextmanager
    def choose(call: Callable[[], object]) -> Iterator[None]:
        nonlocal current
        current = call
        yield

    def run() -> object:
        assert current is not None
        return current()

    return measure_in_turn(
        run, {name: partial(choose, call) for name, call in calls.items()}, device, **options
    )


def synchronize(device: torch.device) -> None:
    """Wait until everything queued on `device` is done; nothing to do on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def time_once(call: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes, until the device has done its work."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def _quartiles(values: tuple[float, ...] | list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = quantiles(values, n=4, method="inclusive")
    return first, third


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
