"""Where the box of a track is between the detector's runs, from its motion and its meshes.

A mesh is predicted from the crop of its box, so a box that simply takes the place of its mesh leads itself
astray, and lags behind what moves. Here a Kalman filter with nearly constant velocity weighs both. It learns
from the detector's boxes how unevenly a track moves, and where the detector runs how its meshes differ from
these boxes and how far that varies: wrong meshes count little, and least where the motion is even.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Box = Sequence[float] | Numbers

UNEVEN = 3.0
"""How fast velocities change before more is known, (sides of the box)^2 / s^3: the density of a random
acceleration."""

LEAST_UNEVEN = 0.03
"""Least that is believed, however evenly some boxes moved."""

EVIDENCE_S = 0.2
"""That counts as much as the boxes at both ends and in the middle of twice this time."""

REMEMBERED_S = 2.0
"""How long it counts how unevenly a track has moved."""

USUAL_SPEED = 2.0
"""Deviation of the speed of a new track, sides of its box per second."""

FOUND = 0.02
"""Deviation of the detector's boxes, sides of the box."""

MESH = 0.1
"""Deviation of mesh from box that is assumed before any was seen; it counts as two frames."""

LEAST_MESH = 0.02
"""Least deviation that is believed, however well a few frames agreed."""

ALIKE = 8.0
"""How many meshes count as one: those of successive frames are wrong alike."""

DEPARTED = np.array([0.12, 0.12, 0.35, 0.35])
"""Least difference of mesh and expected box that matters: of the middle, in sides of the box, and factors."""

DOUBTED = 3.0
"""And at least so many deviations."""

UNSURE, ASTRAY = 0.1, 0.2
"""Most deviation of the middle of a box, in its sides, until the detector must say where it is: as far as all
is known, and without what is known of later frames, which a subject that turns round in between belies."""

NEWEST = 0.3
"""Least share of the newest frame in what is learned of a track's meshes."""


def numbers_of(box: Box) -> Numbers:
    """Middle (x, y) and logarithms of width and height of a box (x1, y1, x2, y2), `[4]`."""
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, np.log(x2 - x1), np.log(y2 - y1)], np.float64)


def corners_of(numbers: Numbers) -> Numbers:
    """The box (x1, y1, x2, y2) that `numbers_of` came from."""
    half = np.exp(numbers[2:]) / 2
    return np.concatenate((numbers[:2] - half, numbers[:2] + half))


def mesh_numbers(points: Numbers) -> Numbers | None:
    """The same of the points `[N, 2]` of a mesh: their mean and how far they reach; None if some are not
    finite, or if they do not reach anywhere.

    Reach is four times the deviation on each axis: a single finger moves it less than a tight box.
    """
    if not np.isfinite(points).all() or not (reach := 4 * points.std(0)).all():
        return None
    found: Numbers = np.concatenate((points.mean(0), np.log(reach)))
    return found


class BoxFilter:
    """The box of one track.

    Args:
        box: where the detector found it, (x1, y1, x2, y2) pixels.
        time_s: when.
    """

    def __init__(self, box: Box, time_s: float) -> None:
        self._at, self._speed = numbers_of(box), np.zeros(4)
        self._time_s = time_s
        scale = np.square(self._scale)
        self._var, self._cov = FOUND**2 * scale, 0.0 * scale
        self._speed_var = USUAL_SPEED**2 * scale
        self._expected = self._at, self._var  # numbers and their variance in the newest frame
        self._alone = self._var  # their variance without what is known of later frames
        self._uneven, self._evidence = np.full(4, UNEVEN), EVIDENCE_S**3 / 6
        self._known = [(self._at, time_s)]  # the detector's newest boxes
        self._offset, self._off_var, self._compared = np.zeros(4), np.full(4, MESH**2), 0

    @property
    def box(self) -> Numbers:
        """Where it is now."""
        return corners_of(self._at)

    def go_to(self, time_s: float) -> None:
        """Move on as before until another time."""
        step, density = time_s - self._time_s, self._uneven * np.square(self._scale)
        self._at = self._at + step * self._speed
        self._var = self._var + 2 * step * self._cov + step**2 * self._speed_var + density * step**3 / 3
        self._cov = self._cov + step * self._speed_var + density * step**2 / 2
        self._speed_var = self._speed_var + density * step
        self._time_s, self._expected = time_s, (self._at, self._var)
        self._alone = self._var

    def found(self, box: Box) -> None:
        """Take the detector's box of this moment."""
        earlier = [one for one in self._known if one[1] < self._time_s]
        self._known = [*earlier, (numbers_of(box), self._time_s)][-3:]
        self._learn_unevenness()
        self._correct(numbers_of(box), np.square(FOUND * self._scale))

    def expected(self, mesh: Numbers) -> Numbers:
        """The box (x1, y1, x2, y2) that a mesh speaks for, see `mesh_numbers`."""
        return corners_of(self._of_mesh(mesh))

    def seen(self, mesh: Numbers) -> None:
        """Take the mesh of this moment."""
        self._correct(self._of_mesh(mesh), ALIKE * self._mesh_var)

    def departs(self, mesh: Numbers) -> bool:
        """Whether the mesh of this moment is elsewhere than expected, by more than its track's meshes usually
        are: the subject moves as it did not before, or the mesh is wrong. Only the detector can tell.
        """
        at, uncertain = self._expected
        away = np.abs(self._of_mesh(mesh) - at)
        most = np.maximum(DEPARTED * self._scale, DOUBTED * np.sqrt(uncertain + self._mesh_var))
        return bool((away > most).any())

    @property
    def is_unsure(self) -> bool:
        """Whether the box may be elsewhere in the newest frame, because its subject moves so unevenly."""
        limits = ((UNSURE, self._expected[1]), (ASTRAY, self._alone))
        return any(bool((np.sqrt(var) > most * self._scale)[:2].any()) for most, var in limits)

    def compare(self, box: Box, mesh: Numbers) -> None:
        """Learn from a moment of which both are known: the detector's box, and the mesh predicted from it."""
        gap = (numbers_of(box) - mesh) / self._scale
        self._compared += 1
        if self._compared == 1:
            self._offset = gap
            return
        share = max(1 / self._compared, NEWEST)
        self._off_var = self._off_var + max(1 / (self._compared + 1), NEWEST) * (
            np.square(gap - self._offset) - self._off_var
        )
        self._offset = self._offset + share * (gap - self._offset)

    def between(self, later: Box, later_s: float) -> Numbers:
        """Where it is now, known where the detector finds it later."""
        then = copy(self)
        then.go_to(later_s)
        shared = self._var + (later_s - self._time_s) * self._cov
        gain = shared / (then._var + np.square(FOUND * then._scale))
        at = self._at + gain * (numbers_of(later) - then._at)
        self._expected = at, self._var - gain * shared
        return corners_of(at)

    def _learn_unevenness(self) -> None:
        """From how far the middle one of three boxes is from the line between the others: the square of that
        is expected to be the density times `evidence`, and the detector's noise.
        """
        if len(self._known) < 3:
            return
        (first, start), (middle, now), (last, end) = self._known
        before, after, whole = now - start, end - now, end - start
        bend = (middle - (after * first + before * last) / whole) / self._scale
        noise = FOUND**2 * (1 + (before**2 + after**2) / whole**2)
        evidence = (before * after) ** 2 / (3 * whole)
        kept = np.exp(-after / REMEMBERED_S) * self._evidence
        self._evidence = kept + evidence
        density = (kept * self._uneven + np.square(bend) - noise) / self._evidence
        self._uneven = np.maximum(density, LEAST_UNEVEN)

    @property
    def _scale(self) -> Numbers:
        """Units of the four numbers: sides of the box, and factors."""
        side = float(np.exp(self._at[2:].mean()))
        return np.array([side, side, 1.0, 1.0])

    @property
    def _mesh_var(self) -> Numbers:
        found: Numbers = np.maximum(self._off_var, LEAST_MESH**2) * np.square(self._scale)
        return found

    def _of_mesh(self, mesh: Numbers) -> Numbers:
        return mesh + self._offset * self._scale

    def _correct(self, seen: Numbers, variance: Numbers) -> None:
        gain, speed_gain = (part / (self._var + variance) for part in (self._var, self._cov))
        wrong = seen - self._at
        self._at, self._speed = self._at + gain * wrong, self._speed + speed_gain * wrong
        self._speed_var = self._speed_var - speed_gain * self._cov
        self._cov, self._var = (1 - gain) * self._cov, (1 - gain) * self._var
