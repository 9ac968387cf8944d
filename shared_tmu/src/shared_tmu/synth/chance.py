"""Where a scene's random numbers come from: a generator of its own for each part of the scene.

A part asks for its generator by name, so that drawing more or fewer numbers in one part leaves all others as
they are. The evaluation sets were made before that, by one generator that visited every part in turn;
`ONE_GENERATOR` keeps their pictures as they were.
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
    """All chance of one scene.

    Args:
        seed: non-negative integers that name the scene.
        draws: "named" gives every part its own generator, "one" the same generator to all.
    """

    def __init__(self, seed: Sequence[int], draws: Draws = NAMED) -> None:
        self._seed = tuple(seed)
        self._one = np.random.default_rng(self._seed) if draws == ONE_GENERATOR else None

    def of(self, part: str) -> np.random.Generator:
        """The generator of a part, at its beginning: ask once for each part."""
        if self._one is not None:
            return self._one
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(_key(part),)))

    def seed_of_skin(self, tone: NDArray[np.float32]) -> int:
        """Seed of the skin's spots, which every pass over the skin draws again.

        With one generator it is what it always was, a sum of floating-point numbers: on other processors its
        last digit, and then all spots, may differ.
        """
        if self._one is not None:
            return int(1e6 * tone.sum())
        return int(self.of("spots of the skin").integers(1 << 31))


def _key(part: str) -> int:
    """A number for a name, the same on every machine."""
    return zlib.crc32(part.encode())
