"""How much tracks shake: the mean acceleration of their joints, and of the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating[Any]]


@dataclass
class Shake:
    """Sums over triples of successive frames, whose accelerations are second differences of positions.

    Attributes:
        count: number of triples.
        m_s2: sum of the mean accelerations, metres per second squared.
        mm: sum of the mean second differences, millimetres per frame squared.
    """

    count: int = 0
    m_s2: float = 0.0
    mm: float = 0.0

    def add(self, points: Sequence[Points], times_s: Sequence[float]) -> None:
        """Add positions `[N, 3]` (metres) in three successive frames."""
        first, second, third = (np.asarray(part, np.float64) for part in points)
        before, after = times_s[1] - times_s[0], times_s[2] - times_s[1]
        change = (third - second) / after - (second - first) / before
        self.m_s2 += float(np.linalg.norm(2 * change / (before + after), axis=-1).mean())
        self.mm += 1000 * float(np.linalg.norm(third - 2 * second + first, axis=-1).mean())
        self.count += 1

    def __str__(self) -> str:
        if not self.count:
            return "unknown: no track is in three successive frames"
        return f"{self.m_s2 / self.count:.3g} m/s² ({self.mm / self.count:.3g} mm per frame²)"

    def to_dict(self) -> dict[str, float | None]:
        """The means; None if there are none."""
        means = (part / self.count if self.count else None for part in (self.m_s2, self.mm))
        return dict(zip(("m_per_s2", "mm_per_frame2"), means, strict=True))


@dataclass
class Jitter:
    """The accelerations of the tracks of a clip.

    Attributes:
        joints: of joints, relative to the camera's translation.
        camera: of that translation.
    """

    joints: Shake = field(default_factory=Shake)
    camera: Shake = field(default_factory=Shake)
    _newest: dict[int, list[tuple[int, float, Points, Points]]] = field(default_factory=dict, repr=False)

    def add(self, track: int, frame: int, time_s: float, joints_m: Points, translation_m: Points) -> None:
        """Add a track's joints `[J, 3]` and translation `[3]` in a frame; its frames come in order."""
        last = [one for one in self._newest.get(track, ()) if frame - one[0] <= 2]
        last = [*last, (frame, time_s, joints_m, translation_m)]
        if [one[0] for one in last] == [frame - 2, frame - 1, frame]:
            times = [one[1] for one in last]
            self.joints.add([one[2] for one in last], times)
            self.camera.add([one[3][None] for one in last], times)
        self._newest[track] = last[-2:]
        if len(self._newest) > 64:  # those of tracks that have ended
            self._newest = {key: kept for key, kept in self._newest.items() if frame - kept[-1][0] <= 2}

    def to_dict(self) -> dict[str, Any]:
        """For a `.json`."""
        return {"joints": self.joints.to_dict(), "camera": self.camera.to_dict()}
