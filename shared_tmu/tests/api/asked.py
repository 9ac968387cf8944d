"""The boxes of the demo's tests, as `predict` takes them."""

import numpy as np
from toy_demo import BOXES

NAMES = sorted(BOXES)


def boxes_of(name):
    return [entry["box_xyxy"] for entry in BOXES[name]]


def sides_of(name):
    return ["right" if entry["is_right"] else "left" for entry in BOXES[name]]


def of_all(of):
    return [of(name) for name in NAMES]


def same(first, second):
    """Whether two results have the same arrays, bit for bit."""
    a, b = first.to_dict(), second.to_dict()
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)
