"""The random numbers of a scene: a separate generator for each part of the scene.

A part gets its generator by name, so that drawing more or fewer numbers in one part does not change the other
parts. The evaluation sets were made before this, with one generator for all parts in turn; `ONE_GENERATOR`
keeps their pictures unchanged.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Draws = Literal["named", "one"]
NAMED: Draws = "named"
ONE_GENERATOR: Draws = "one"


class Chance:
    """All random generators of one scene.

    Args:
        seed: non-negative integers that name the scene.
        draws: "named" gives every part its own generator, "one" the same generator to all.
        frame: number of the picture in its clip, in which only noise differs from picture to picture.
    """

    def __init__(self, seed: Sequence[int], draws: Draws = NAMED, frame: int | None = None) -> None:
        self._seed, self._frame = tuple(seed), frame
        self._one = np.random.default_rng(self._seed) if draws == ONE_GENERATOR else None

    def of(self, part: str) -> np.random.Generator:
        """The generator of a part, at its beginning: ask once for each part."""
        if self._one is not None:
            return self._one
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(_key(part),)))

    def noise_of(self, part: str) -> np.random.Generator | None:
        """The generator of a part's noise, which differs in every frame of a clip; None for single pictures,
        where the part's own generator draws it."""
        if self._frame is None:
            return None
        return np.random.default_rng(
            np.random.SeedSequence(self._seed, spawn_key=(_key(part), _key("noise"), self._frame))
        )

    def seed_of_skin(self, tone: NDArray[np.float32]) -> int:
        """Seed of the skin's spots, which every pass over the skin draws again.

        With one generator it is, as before, a sum of floating-point numbers: on other processors its last
        digit may differ, and then all spots differ.
        """
        if self._one is not None:
            return int(1e6 * tone.sum())
        return int(self.of("spots of the skin").integers(1 << 31))


def _key(part: str) -> int:
    """A number for a name, the same on every machine."""
    return zlib.crc32(part.encode())
