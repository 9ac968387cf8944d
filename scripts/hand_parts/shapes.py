"""The few directions in which another hand's shape varies, and SynthHand's shape that fits it best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hand_parts.fitting import Rested, rigid
from hand_parts.surfaces import Places
from shared_tmu.body_models.mano import FINGERTIPS
from shared_tmu.synth.hand import HandGeometry

Array = NDArray[np.float64]
DIRECTIONS = 6
RIDGE_MM = 0.5  # misfit that one unit of a coefficient counts as much as
POINT_WEIGHT = 1.0  # of key points against vertices, in mean squares


@dataclass(frozen=True)
class Shapes:
    """Shapes of one other hand on SynthHand's vertices.

    Attributes:
        directions: one standard deviation of each, `[778, 3, K]` metres.
        explained: share of the variance along each, `[K]`.
        betas: SynthHand's coefficients that fit the mean hand, `[10]`.
        betas_per_shape: how they change with the other hand's, `[10, K]`.
    """

    directions: Array
    explained: Array
    betas: Array
    betas_per_shape: Array


def shapes_of(rested: Rested, places: Places, hand: HandGeometry) -> Shapes:
    """Principal directions of all hands of `rested`, about the first, and their fits."""
    nets = np.stack([places.on(vertices, rested.faces) for vertices in rested.vertices])
    moved = []
    for net in nets[1:]:
        turn, shift = rigid(net, nets[0])
        moved.append(net @ turn.T + shift)
    directions, explained = np.zeros((len(nets[0]), 3, 0)), np.zeros(0)
    if moved:
        away = np.stack(moved) - np.mean(moved, axis=0)
        _, sizes, rows = np.linalg.svd(away.reshape(len(away), -1), full_matrices=False)
        spread = sizes[:DIRECTIONS] / np.sqrt(len(away))
        directions = (spread[:, None] * rows[:DIRECTIONS]).T.reshape(-1, 3, DIRECTIONS)
        explained = (sizes**2 / (sizes**2).sum())[:DIRECTIONS]
    solve = _Fit(hand)
    base = solve(nets[0] - hand.template)
    columns = [solve(directions[:, :, k]) for k in range(directions.shape[2])]
    return Shapes(directions, explained, base, np.array(columns).reshape(-1, 10).T)


class _Fit:
    """SynthHand's coefficients for a displacement of its template's vertices `[778, 3]`, linear in it.

    Vertices and key points count alike; a shift is free.
    """

    def __init__(self, hand: HandGeometry) -> None:
        pick = np.zeros((len(FINGERTIPS), len(hand.template)))
        pick[np.arange(len(FINGERTIPS)), list(FINGERTIPS)] = 1.0
        points = np.concatenate([hand.regressor.astype(float), pick])
        self.rows = np.concatenate(
            [
                np.eye(len(hand.template)) / np.sqrt(len(hand.template)),
                points * np.sqrt(POINT_WEIGHT / len(points)),
            ]
        )
        shift = np.tile(np.eye(3), (len(hand.template), 1, 1))
        known = np.concatenate([hand.shape_directions.astype(float), shift], axis=2)
        matrix = np.einsum("rv,vck->rck", self.rows, known).reshape(-1, 13)
        ridge = np.diag([RIDGE_MM * 1e-3] * 10 + [0.0] * 3)
        self.inverse = np.linalg.pinv(np.concatenate([matrix, ridge]))[:, : len(matrix)]

    def __call__(self, displacement: Array) -> Array:
        return np.asarray((self.inverse @ (self.rows @ displacement).ravel())[:10])
