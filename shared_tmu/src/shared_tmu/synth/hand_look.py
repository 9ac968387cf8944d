"""The surface of one hand: skin of different age and condition, paint, dirt, or a glove."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.paint import Paint, Painter
from shared_tmu.synth.painters import Planar
from shared_tmu.synth.skin import skin_albedo
from shared_tmu.synth.skin_detail import skin_detail
from shared_tmu.synth.textures import any_map, color_table, photo_color

Array = NDArray[np.float32]
Faces = NDArray[np.int32]


class HandSkin:
    """The painter of a hand's skin.

    Args:
        rng: the only source of randomness.
        tone: linear RGB, `[3]`.
        vertices: present vertices of the hand, `[778, 3]` metres.
    """

    def __init__(self, rng: np.random.Generator, tone: Array, vertices: Array) -> None:
        corners = vertices[synth_hand().faces]
        self.tone, self.edges = tone, (corners[:, 1:] - corners[:, :1]).astype(np.float32)
        self.seed = int(rng.integers(1 << 31))
        old = rng.beta(1.0, 1.5)
        self.relief = (
            np.array([0.4 + 1.8 * old, 1.6 * rng.random() * old + 0.2, 1.0]) * rng.uniform(0.3, 1.3)
        ).astype(np.float32)
        self.red = np.float32(rng.uniform(0.0, 0.9))
        self.blue = np.float32(rng.uniform(0.0, 0.35))
        self.freckles = np.float32(rng.uniform(0.08, 0.35)) if rng.random() < 0.15 else np.float32(0.0)
        self.stain = self._sample_stain(rng)
        self.wet = np.float32(np.exp(rng.normal(0.0, 0.5)))

    @staticmethod
    def _sample_stain(rng: np.random.Generator) -> tuple[Array, float, float] | None:
        """Soil, flour or paint on the skin: its colour, its noise threshold, its thickness."""
        if rng.random() > 0.06:
            return None
        color = np.array([0.05, 0.032, 0.018]) * np.exp(rng.normal(0, 0.3))
        if rng.random() < 0.3:
            color = photo_color(rng, 0.4)
        return color.astype(np.float32), float(rng.uniform(-0.2, 0.4)), float(rng.uniform(0.2, 0.8))

    def __call__(self, points: Array, face: Faces, bary: Array) -> Paint:
        """See `varied_stage.Painter`."""
        detail = skin_detail()
        albedo, gloss = skin_albedo(np.random.default_rng(self.seed), self.tone, face, bary)
        cell = detail.cells(bary)
        at = (face, cell)
        red = (self.red * detail.red[at])[:, None]
        albedo *= 1.0 + red * np.array([0.08, -0.22, -0.20], np.float32)
        albedo *= 1.0 - (self.blue * detail.vein[at])[:, None] * np.array([0.35, 0.12, 0.08], np.float32)
        spots = detail.spots[at]
        if self.freckles:
            dark = np.clip(4.0 * (spots[:, 0] - 0.35), 0.0, 1.0) * self.freckles
            albedo *= 1.0 - dark[:, None] * np.array([0.45, 0.65, 0.75], np.float32)
        if self.stain:
            color, start, most = self.stain
            amount = np.clip(1.6 * (spots[:, 1] + 0.4 * spots[:, 0] - start), 0.0, 1.0) * np.float32(most)
            albedo += amount[:, None] * (color - albedo)
            gloss = gloss * (1.0 - 0.8 * amount)
        tilt = detail.tilt(face, cell, self.edges, self.relief)
        flesh = np.ones(len(points), bool)
        return Paint(np.clip(albedo, 0.004, 0.95), self.wet * gloss, tilt, flesh)


class Glove:
    """The painter of a gloved hand; fingertips may stick out of it.

    Args:
        rng: the only source of randomness.
        skin: the painter of the skin below.
    """

    def __init__(self, rng: np.random.Generator, skin: HandSkin) -> None:
        kind = rng.random()
        rubber = np.array([[0.05, 0.20, 0.62], [0.80, 0.80, 0.78], [0.02, 0.02, 0.022], [0.28, 0.22, 0.5],
                           [0.75, 0.55, 0.03], [0.6, 0.15, 0.12]], np.float32)  # fmt: skip
        along = rng.normal(0, 1, 3).astype(np.float32)
        self.skin, self.fingerless = skin, kind >= 0.4 and rng.random() < 0.35
        if kind < 0.4:  # rubber
            base, cells = rubber[rng.integers(len(rubber))], 1500.0
            gray, self.gloss, self.depth = any_map(rng, "folds"), np.float32(rng.uniform(1.0, 4.0)), 0.25
            table = base * np.linspace(0.9, 1.1, 256)[:, None]
        elif kind < 0.75:  # wool, cotton
            gray, cells = any_map(rng, "knit", "weave"), 2600.0
            self.gloss, self.depth = np.float32(0.1), 0.35
            table = photo_color(rng, 0.3) * np.linspace(0.55, 1.1, 256)[:, None]
        else:  # leather
            gray, cells = any_map(rng, "folds", "marble"), 2600.0
            self.gloss, self.depth = np.float32(rng.uniform(0.6, 2.5)), 0.3
            table = color_table(rng, 2, 0.4)
        self.table = table.astype(np.float32)
        self.pattern = Planar(rng, gray, along, cells)

    def __call__(self, points: Array, face: Faces, bary: Array) -> Paint:
        """See `varied_stage.Painter`."""
        albedo = self.table[self.pattern(points)]
        gloss = np.full(len(points), self.gloss, np.float32)
        tilt = np.float32(self.depth) * self.pattern.tilt(points)
        flesh = np.zeros(len(points), bool)
        if self.fingerless:
            out = np.einsum("kv,kv->k", skin_detail().fingertip[synth_hand().faces[face]], bary) > 0.5
            rows = np.flatnonzero(out)
            own = self.skin(points[rows], face[rows], bary[rows])
            albedo[rows], gloss[rows], flesh[rows] = own.albedo, own.gloss, True
            if own.tilt is not None:
                tilt[rows] = own.tilt
        return Paint(np.clip(albedo, 0.004, 0.95), gloss, tilt, flesh)


def hand_look(rng: np.random.Generator, tone: Array, vertices: Array, gloved: bool) -> Painter:
    """How a hand looks.

    Args:
        rng: the only source of randomness.
        tone: tone of its skin, linear RGB `[3]`.
        vertices: present vertices of the hand, `[778, 3]` metres.
        gloved: whether it wears a glove.
    """
    skin = HandSkin(rng, tone, vertices)
    return Glove(rng, skin) if gloved else skin
