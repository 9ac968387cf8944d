"""What `train_on.py` does next: decisions from numbers alone, without files or processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forecast import fit_power

EXPONENT = 0.27
"""The power of the pictures seen with which an error falls, until a model's own log says otherwise."""
PICTURES_PER_SCENE = 15
"""Pictures that may be seen for each fresh scene."""
DRAWING = 0.2
"""Share of the time in which scenes are drawn."""
BODY = 1 / 3
"""Share of the time that the model of bodies gets."""
_OWN_POINTS, _OWN_RANGE = 3, 1.2  # rounds, and growth of the pictures, from which a model's own log counts
_EXPONENTS = (0.02, 1.0)


@dataclass(frozen=True)
class Standing:
    """A model as the plan sees it.

    Attributes:
        subject: what it estimates, `"hand"` or `"body"`; models of one subject share scenes and trunk.
        pictures: number of pictures that its trunk has seen, in all models that had it.
        log: pairs of such numbers and errors in mm on held-out scenes, oldest first.
        round_pictures: pictures of its next round.
        per_s: pictures per second of training.
        seconds: time spent on it so far, with its share of drawing.
        is_open: whether a round has begun and is not finished.
    """

    subject: str
    pictures: int
    log: Sequence[tuple[int, float]]
    round_pictures: int
    per_s: float
    seconds: float
    is_open: bool


@dataclass(frozen=True)
class Stock:
    """The scenes of one subject.

    Attributes:
        fresh: scenes that the weights with which everything began have not seen.
        seen: pictures seen since then, by all models of the subject.
        draw_s, train_s: time spent on drawing them and on training on them.
    """

    fresh: int
    seen: int
    draw_s: float
    train_s: float


@dataclass(frozen=True)
class Step:
    """What to do next: train `model`, or draw scenes for it."""

    model: str
    draws: bool
    why: str


def counts_for_itself(log: Sequence[tuple[int, float]]) -> bool:
    """Whether a model's own log is long enough to tell its exponent."""
    counts = [pictures for pictures, _ in log]
    return len(set(counts)) >= _OWN_POINTS and max(counts) >= _OWN_RANGE * min(counts)


def exponent_of(log: Sequence[tuple[int, float]]) -> float:
    """The exponent of a model's own log, or `EXPONENT` while it has too few points."""
    if not counts_for_itself(log):
        return EXPONENT
    low, high = _EXPONENTS
    return min(max(fit_power(log).exponent, low), high)


def gain_of(standing: Standing, trunk_pictures: int) -> float:
    """The share by which an error falls in a second of the next round.

    Args:
        standing: the model.
        trunk_pictures: pictures that the best trunk it can continue from has seen.
    """
    after = max(standing.pictures, trunk_pictures) + standing.round_pictures
    left = (after / standing.pictures) ** -exponent_of(standing.log)
    return (1.0 - left) * standing.per_s / standing.round_pictures


def choose_model(models: Mapping[str, Standing]) -> str:
    """The model whose turn it is.

    The model of bodies gets its share of the time. Of the hand models, an open round goes on; otherwise the
    one that gains most begins: one that trails behind the other gains most from that one's trunk, so they
    take turns unless one of them has stopped gaining.
    """
    total = sum(one.seconds for one in models.values())
    bodies = [name for name, one in models.items() if one.subject == "body"]
    hands = [name for name, one in models.items() if one.subject == "hand"]
    for name in bodies:
        if not hands or models[name].seconds < BODY * total:
            return name
    for name in hands:
        if models[name].is_open:
            return name
    most = max((models[name].pictures for name in hands), default=0)
    return max(hands or bodies, key=lambda name: gain_of(models[name], most))


def choose_step(models: Mapping[str, Standing], stocks: Mapping[str, Stock]) -> Step:
    """Train or draw, for the model whose turn it is.

    Args:
        models: by name, at least one.
        stocks: by subject.
    """
    name = choose_model(models)
    one, stock = models[name], stocks[models[name].subject]
    wanted = scenes_for(stock.seen + one.round_pictures)
    if not one.is_open and stock.fresh < wanted:
        return Step(name, True, f"a round needs {wanted:,} fresh scenes, {stock.fresh:,} are drawn")
    share = stock.draw_s / max(stock.draw_s + stock.train_s, 1e-9)
    if stock.train_s > 0 and share < DRAWING:
        return Step(name, True, f"{100 * share:.0f} % of the time was spent on drawing")
    return Step(name, False, "a round goes on" if one.is_open else "a round begins")


def scenes_for(pictures: int) -> int:
    """Fresh scenes that must be drawn before this number of pictures is seen."""
    return math.ceil(pictures / PICTURES_PER_SCENE)


def scaled(stages: Sequence[tuple[str, int, int]], most: int) -> dict[str, int]:
    """Pictures of each stage of a round that has at most `most` pictures in all.

    Stages at the final depth stay as long as they are, because the blocks that were added for them always
    start anew; the others become shorter in proportion.

    Args:
        stages: name, depth and pictures of each stage, in order.
        most: pictures of the whole round.
    """
    deepest = max(depth for _, depth, _ in stages)
    fixed = sum(images for _, depth, images in stages if depth == deepest)
    rest = sum(images for _, _, images in stages) - fixed
    factor = min(max((most - fixed) / rest, 0.05), 1.0) if rest else 1.0
    return {
        name: images if depth == deepest else max(round(factor * images), 1) for name, depth, images in stages
    }


def shards_to_draw(seconds: float, per_s: float | None, shard: int) -> int:
    """Shards of `shard` scenes for a slice of time, at least one; one while the speed is not known."""
    return max(round(seconds * per_s / shard), 1) if per_s else 1
