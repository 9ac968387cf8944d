"""Surroundings in the colours of the hand before them: faces, arms, wood, bricks, clothes in the same light.

Around hands in photographs most things have about the hue of skin or are gray, and a hand's outline is
mostly a difference of brightness. A model that has only seen colourful surroundings finds hands by their hue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.environment import Environment
from shared_tmu.synth.paint import Faces, Paint, Painted, Painter
from shared_tmu.synth.people import add_person

Array = NDArray[np.float32]
Change = Callable[[Array], Array]
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
ALBEDO = 0.2  # usual brightness of things
DRESSED = 0.75  # share of sleeves and objects that take part


class Hues:
    """Gives surroundings shades of one colour: its hue or gray, and about its brightness.

    Args:
        rng: the only source of randomness.
        color: linear RGB, `[3]`.
    """

    def __init__(self, rng: np.random.Generator, color: Array) -> None:
        self.level = np.float32((color @ LUMA) * np.exp(rng.normal(-0.25, 0.55)))
        tint = color / (color @ LUMA) * np.exp(rng.normal(0.0, 0.04, 3))
        tint = tint ** rng.uniform(0.4, 1.2)  # 0 is gray, 1 as colourful as the colour
        self.tint = (tint / (tint @ LUMA)).astype(np.float32)
        self.pull = np.float32(rng.uniform(0.8, 1.0))
        self.contrast = np.float32(rng.uniform(0.8, 2.0))

    def __call__(self, rgb: Array, usual: float) -> Array:
        """The new linear RGB of `[..., 3]`, whose usual brightness becomes that of the colour."""
        level = np.maximum(rgb @ LUMA, 1e-4)[..., None]
        hue = np.maximum(rgb / level, 0.02) ** (1.0 - self.pull) * self.tint**self.pull
        level = self.level * np.clip(level / np.float32(usual), 0.02, 8.0) ** self.contrast
        return np.asarray(level * hue / (hue @ LUMA)[..., None], np.float32)


def alike_things(rng: np.random.Generator, things: list[Painted], tone: Array) -> list[Painted]:
    """Solids of which some have shades of a skin's tone, `[3]`; what is skin keeps its own."""
    return [
        replace(thing, painter=_painter(thing.painter, Hues(rng, tone))) if rng.random() < DRESSED else thing
        for thing in things
    ]


def _painter(own: Painter, hues: Hues) -> Painter:
    def paint(points: Array, face: Faces, bary: Array) -> Paint:
        made = own(points, face, bary)
        albedo = np.clip(hues(made.albedo, ALBEDO), 0.004, 0.95)
        return replace(made, albedo=np.where(made.flesh[:, None], made.albedo, albedo))

    return paint


def alike_background(rng: np.random.Generator, light: Environment, px_per_m: float, resting: bool) -> Change:
    """The change of a background, linear RGB `[H, W, 3]`, to shades of lit skin.

    Args:
        rng: the only source of randomness.
        light: skin and light of the picture.
        px_per_m: size of its pixels at the hand.
        resting: whether the hand lies on something; if not, a face or another part of a person, in focus, may
            be right behind it.
    """
    towards = np.array([[0.0, -0.5, -0.866]], np.float32)
    lit = light.tone * (light.irradiance(towards)[0] + 0.4 * light.key_color)
    hues = Hues(rng, lit)
    near = not resting and rng.random() < 0.45

    def change(behind: Array) -> Array:
        usual = np.exp(np.log(np.maximum(behind @ LUMA, 1e-3)).mean())
        behind = hues(behind, float(usual))
        if near:
            behind = add_person(rng, behind, light, px_per_m * rng.uniform(0.7, 1.0), near=True)
        return np.clip(behind, 0.0, 4.0)

    return change
