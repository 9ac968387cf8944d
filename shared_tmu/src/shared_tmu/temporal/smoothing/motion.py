"""What is smoothed of a hand or person: rotations, shape, and place in the image's camera frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Motion:
    """A subject in one frame.

    Attributes:
        rotations: of its joints, R together.
        shape: its shape coefficients, `[S]`.
        place: where it is: (x / z, y / z, log z) in the image's camera frame, `[3]`. So pixels and distance
            are smoothed apart, and a distance that shakes does not move the pixels.
        size: its usual size over its distance, radians: what a change of place is compared with.
    """

    rotations: Rotation
    shape: Numbers
    place: Numbers
    size: float


def to_place(point_m: Numbers) -> Numbers:
    """The place of a point `[3]` in front of the camera."""
    x, y, z = (float(value) for value in point_m)
    return np.array([x / z, y / z, np.log(z)])


def from_place(place: Numbers) -> Numbers:
    """The point `[3]` at a place, metres."""
    z = float(np.exp(place[2]))
    return np.array([place[0] * z, place[1] * z, z])
