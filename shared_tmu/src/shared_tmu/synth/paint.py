"""The appearance of points of a solid, and the functions that compute it (painters)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.geometry3d import Solid

Array = NDArray[np.float32]
Faces = NDArray[np.int32]


@dataclass(frozen=True)
class Paint:
    """The appearance of K points of a solid.

    Attributes:
        albedo: linear RGB, `[K, 3]`.
        gloss: strength of the highlight, `[K]`.
        tilt: added to the unit normals, `[K, 3]`, if anything.
        flesh: whether light scatters below the surface, as in skin, `[K]`.
    """

    albedo: Array
    gloss: Array
    tilt: Array | None
    flesh: NDArray[np.bool_]


Painter = Callable[[Array, Faces, Array], Paint]
"""From points in the camera frame `[K, 3]`, the solid's faces `[K]` and weights on them `[K, 3]`."""


@dataclass(frozen=True)
class Painted:
    """A solid and its appearance."""

    solid: Solid
    painter: Painter
