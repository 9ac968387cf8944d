"""Skeletons of the joints-and-twists representation: which bone turns with which joint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from shared_tmu.body_models.mano import PARENTS as HAND_PARENTS


@dataclass(frozen=True)
class MotionTree:
    """Joints, and leaves at the ends of limbs, as a tree.

    Attributes:
        parents: of each of K points, -1 for the root; leaves come last.
        num_joints: J, the points that have a rotation.
        fitted: joints whose rotation is fitted to the bones to all their children; the others point along
            the bone to their first child and turn about it by their twist.
        drift_m: how far positions may drift along a limb before the direction between the given points is
            taken instead.
    """

    parents: tuple[int, ...]
    num_joints: int
    fitted: tuple[int, ...]
    drift_m: float

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Children of every joint, in order."""
        return tuple(
            tuple(point for point, parent in enumerate(self.parents) if parent == joint)
            for joint in range(self.num_joints)
        )

    @property
    def num_points(self) -> int:
        """K."""
        return len(self.parents)

    @property
    def num_twists(self) -> int:
        """One per joint, but not the root."""
        return self.num_joints - 1

    @property
    def width(self) -> int:
        """F: three values per point, two per twist."""
        return 3 * self.num_points + 2 * self.num_twists


HAND = MotionTree(
    parents=(*HAND_PARENTS, 15, 3, 6, 12, 9),
    num_joints=16,
    fitted=(0,),
    drift_m=0.005,
)
"""MANO's 16 joints and the tips of thumb, index, middle, ring and little finger: 93 values per frame."""

BODY = MotionTree(
    parents=(
        -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
        15, 22, 23, 10, 11,
    ),
    num_joints=24,
    fitted=(0, 9),
    drift_m=0.015,
)  # fmt: skip
"""SMPL's 24 joints, and head, middle fingertips and big toes: 133 values per frame, as in the paper."""
