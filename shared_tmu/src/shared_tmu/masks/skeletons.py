"""The limbs between the key points of a hand and of a person, and their thickness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError

from .limbs import Limb, Mask, draw_limbs

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Skeleton:
    """Key points of one kind of subject.

    Attributes:
        num_points: K.
        limbs: limbs between them; radii are in units of `size_of`.
        size_of: function from points `[K, 2]` to the subject's size in the same unit; points that are not
            finite are ignored.
    """

    num_points: int
    limbs: tuple[Limb, ...]
    size_of: Callable[[Points], float]

    def draw(self, points_px: Points, shape: tuple[int, int]) -> Mask | None:
        """The subject's pixels, `[H, W]`, from key points in pixels of the same picture; None without points.

        Raises:
            InputError: the points are not `[K, 2]`.
        """
        if points_px.shape != (self.num_points, 2):
            raise InputError(
                f"a mask needs key points (x, y) of shape [{self.num_points}, 2], found "
                f"{list(points_px.shape)}."
            )
        size = self.size_of(points_px) if np.isfinite(points_px).any() else 0.0
        return draw_limbs(points_px, self.limbs, size, shape) if size > 0 else None


def longer_side(points: Points) -> float:
    """Longer side of the box of points `[K, 2]`."""
    return float(np.nanmax(np.nanmax(points, axis=0) - np.nanmin(points, axis=0)))


def trunk_length(points: Points) -> float:
    """Length of a person's trunk from shoulder to hip, estimated from the least foreshortened limb."""
    lengths = [
        factor * float(np.linalg.norm(points[a] - points[b]))
        for factor, pairs in _IN_TRUNKS
        for a, b in pairs
    ]
    known = [length for length in lengths if np.isfinite(length)]
    return max(known, default=longer_side(points))


_FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
_FINGER = 0.05  # of 0.03, 0.05 and 0.07, this one gave HaMeR-Thin the smallest errors

HAND = Skeleton(
    21,
    (
        *(Limb(bone, _FINGER) for finger in _FINGERS for bone in pairwise(finger)),
        Limb((0, 1, 5, 9, 13, 17), _FINGER),
    ),
    longer_side,
)
"""21 points in OpenPose's order: wrist, then thumb to little finger from palm to tip."""

_IN_TRUNKS = (
    (1.0, ((11, 23), (12, 24))),
    (1.4, ((11, 12),)),  # shoulders
    (1.7, ((11, 13), (12, 14), (13, 15), (14, 16))),  # upper and lower arms
    (1.2, ((23, 25), (24, 26), (25, 27), (26, 28))),  # thighs and shins
)

BODY = Skeleton(
    33,
    (
        Limb((11, 12, 24, 23), 0.15),
        Limb(tuple(range(11)), 0.18),  # the centre of eyes, ears and mouth is the middle of the head
        *(Limb(bone, 0.15) for bone in ((9, 11), (10, 12))),  # the neck, and hair
        *(Limb(bone, 0.13) for bone in ((11, 13), (12, 14))),
        *(Limb(bone, 0.10) for bone in ((13, 15), (14, 16))),
        *(Limb(hand, 0.14) for hand in ((15, 17, 19, 21), (16, 18, 20, 22))),
        *(Limb(bone, 0.18) for bone in ((23, 25), (24, 26))),
        *(Limb(bone, 0.13) for bone in ((25, 27), (26, 28))),
        *(Limb(foot, 0.08) for foot in ((27, 29, 31), (28, 30, 32))),
    ),
    trunk_length,
)
"""MediaPipe's 33 points: face, then arms and hands, then legs and feet, left before right."""

SKELETONS = {"hand": HAND, "body": BODY}
"""Skeletons, by what models estimate."""
