"""Converts the numbers of a schedule to tokens per layer: ToMe's pair, a total by a profile, OpenToMe's
total.
"""

from __future__ import annotations

import math
from itertools import pairwise


def incline(r: int, inflection: float, depth: int) -> list[int]:
    """ToMe's published pair (r, inflection): r on average, rising or falling linearly, cut to whole numbers.

    With a single layer, where that rule divides by zero, the layer gets r. Beyond an inflection of 1, which
    OpenToMe uses, layers get a negative r.
    """
    if depth == 1:
        return [r]
    first = int(r * (1 - inflection))
    step = (2 * r - 2 * first) / (depth - 1)
    return [int(first + layer * step) for layer in range(depth)]


def spread(total: int, inflection: float, power: float, depth: int) -> list[int]:
    """A total over the layers by a linear profile, or by (l / L)^power: exact, see `Schedule`."""
    step = 2 * inflection / max(depth - 1, 1)
    profile = [
        ((layer + 1) / depth) ** power if power else 1 - inflection + layer * step for layer in range(depth)
    ]
    if depth == 1:
        profile = [1.0]
    so_far = [math.floor(total * sum(profile[:n]) / sum(profile) + 0.5) for n in range(depth + 1)]
    return [after - before for before, after in pairwise(so_far)]


def divide_as_opentome(total: int, inflection: float, depth: int) -> list[int]:
    """OpenToMe's rule for a total (its `check_parse_r`), with the negative numbers that it gives.

    The pair (r, inflection) whose sum is nearest to the total, searched from r = 0 until the gap grows; the
    first layer gets what is missing if the inflection is negative, else the last, all at once.
    """
    best, gap = 0, total
    for r in range(1, total):
        other = abs(total - sum(incline(r, inflection, depth)))
        if other > gap:
            break
        if other < gap:
            best, gap = r, other
    layers = incline(best, inflection, depth)
    layers[0 if inflection < 0 else -1] += total - sum(layers)
    return layers
