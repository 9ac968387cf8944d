"""The appearance of a person: skin, hair, eyes, lips and clothes as a colour for every place of the rest
pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.body.anatomy import EYE_RADIUS, GROUND, INDEX, joints
from shared_tmu.synth.body.cloth import Cloth, sample_cloth, smoothstep, value_noise, vector_noise
from shared_tmu.synth.body.head import EYE_LEVEL, MOUTH
from shared_tmu.synth.body.mesh import SKIN_VERTICES
from shared_tmu.synth.body.model import synth_body

Array = NDArray[np.float32]

# Linear-light RGB; our own picks over the range seen in photographs.
HAIR = np.array(
    [[0.012, 0.010, 0.009], [0.030, 0.018, 0.011], [0.075, 0.038, 0.018], [0.19, 0.10, 0.042],
     [0.42, 0.28, 0.13], [0.17, 0.050, 0.020], [0.36, 0.35, 0.34]], np.float32,
)  # fmt: skip
IRIS = np.array(
    [[0.020, 0.010, 0.005], [0.07, 0.035, 0.012], [0.09, 0.10, 0.04], [0.10, 0.18, 0.28], [0.17, 0.20, 0.21]],
    np.float32,
)
WHITE = np.array([0.78, 0.75, 0.71], np.float32)
MOUTH_INSIDE = np.array([0.09, 0.025, 0.022], np.float32)


@dataclass(frozen=True)
class Outfit:
    """What one person wears; heights are above the ground at rest, metres.

    Attributes:
        top, bottom, shoes: fabrics; None is skin.
        sleeve: where sleeves end, along the arm from the middle.
        hem: lower edge of the top.
        neckline: upper edge of the top at the sides of the neck, and how deep it dips in front.
        waist: upper edge of the bottom.
        leg_end: lower edge of the bottom.
        shoe_top: upper edge of the shoes.
        hairline: height of the hair's edge above the eyes in front; None is bald.
        hair_length: how far hair comes down at the back, metres below the eyes.
        beard: 0 none to 1 full.
        hair, iris, lips: linear RGB, `[3]`.
    """

    top: Cloth | None
    bottom: Cloth | None
    shoes: Cloth | None
    sleeve: float
    hem: float
    neckline: tuple[float, float]
    waist: float
    leg_end: float
    shoe_top: float
    hairline: float | None
    hair_length: float
    beard: float
    hair: Array
    iris: Array
    lips: float


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Everyday clothes, sometimes swimwear."""
    dressed = rng.random()
    first, second = rng.integers(len(HAIR), size=2)
    hair = HAIR[first] + rng.uniform(0, 0.4) * (HAIR[second] - HAIR[first])
    sleeve = rng.choice([0.185, 0.30, 0.40, 0.655], p=[0.12, 0.38, 0.08, 0.42]) + rng.normal(0.0, 0.015)
    return Outfit(
        top=sample_cloth(rng) if dressed < 0.88 else None,
        bottom=sample_cloth(rng),
        shoes=sample_cloth(rng) if rng.random() < 0.75 else None,
        sleeve=float(sleeve),
        hem=float(rng.uniform(0.86, 1.00)),
        neckline=(float(rng.uniform(1.40, 1.47)), float(rng.choice([0.0, rng.uniform(0.0, 0.12)]))),
        waist=float(rng.uniform(0.98, 1.06)),
        leg_end=float(
            rng.choice([rng.uniform(0.06, 0.12), rng.uniform(0.35, 0.65), 0.79], p=[0.62, 0.26, 0.12])
        ),
        shoe_top=float(rng.choice([0.075, 0.11, 0.30], p=[0.5, 0.35, 0.15]) + rng.normal(0, 0.008)),
        hairline=None if rng.random() < 0.10 else float(rng.uniform(0.052, 0.075)),
        hair_length=float(rng.choice([rng.uniform(0.02, 0.07), rng.uniform(0.07, 0.16)], p=[0.6, 0.4])),
        beard=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.25 else 0.0,
        hair=(hair * np.exp(rng.normal(0, 0.15))).astype(np.float32),
        iris=IRIS[rng.integers(len(IRIS))],
        lips=float(rng.uniform(0.3, 1.0)),
    )


class HasTone(Protocol):
    """An object with a skin colour, linear RGB `[3]`."""

    @property
    def tone(self) -> Array: ...


class Wardrobe:
    """The surface of a dressed person: a `Surface` of the stage.

    Args:
        looks: skin colour.
        outfit: what is worn.
        shift: shift of the noise, so that no two people share it.
    """

    def __init__(self, looks: HasTone, outfit: Outfit, shift: float = 0.0) -> None:
        self.looks, self.outfit, self.shift = looks, outfit, shift
        self.body = synth_body()

    def __call__(self, face: NDArray[np.int32], bary: Array) -> tuple[Array, Array, Array]:
        """Linear RGB `[K, 3]`, strength of the highlight `[K]`, and tilt of the normals `[K, 3]`."""
        corners = self.body.faces[face]
        points = np.einsum("kvc,kv->kc", self.body.template[corners], bary)
        color, gloss = self._skin(points)
        tilt = np.zeros_like(points)
        eyes = corners[:, 0] >= SKIN_VERTICES
        head = ~eyes & (points[:, 1] > GROUND + 1.40)
        self._face(color, gloss, points, np.flatnonzero(head))
        self._eyes(color, gloss, points, np.flatnonzero(eyes))
        for cloth, where in self._garments(points, eyes | (points[:, 1] > GROUND + 1.475)):
            rows = np.flatnonzero(where)
            if len(rows):
                color[rows] = cloth.albedo(points[rows])
                gloss[rows] = cloth.gloss
                tilt[rows] = cloth.wrinkles * _folds(points[rows], self.shift)
        return color, gloss, tilt

    def _skin(self, points: Array) -> tuple[Array, Array]:
        rough, red = vector_noise(points, 0.05, self.shift, 2).T
        rough = 1.0 + 0.05 * rough + 0.04 * value_noise(points, 0.012, self.shift)
        color = self.looks.tone * rough[:, None]
        color = color * (1.0 + 0.04 * red[:, None] * np.array([0.6, -0.8, -0.6], np.float32))
        return np.clip(color, 0.005, 1.0).astype(np.float32), np.full(len(points), 0.35, np.float32)

    def _garments(self, points: Array, bare: NDArray[np.bool_]) -> list[tuple[Cloth, NDArray[np.bool_]]]:
        """Fabrics and where they are, from the innermost to the outermost."""
        outfit, (x, height, z) = self.outfit, (np.abs(points[:, 0]), points[:, 1] - GROUND, points[:, 2])
        wave = 0.006 * value_noise(points, 0.06, self.shift)
        out = []
        if outfit.bottom is not None:
            crotch = np.where(height < 0.80, outfit.leg_end, np.minimum(outfit.leg_end, 0.78))
            out.append(
                (outfit.bottom, (height < outfit.waist + wave) & (height > crotch + wave) & (x < 0.25))
            )
        if outfit.top is not None:
            edge, dip = outfit.neckline
            neck = edge + 0.25 * np.minimum(z, 0.0) + 1.5 * np.maximum(x - 0.09, 0.0)
            neck -= dip * np.clip(1.0 - x / 0.09, 0.0, 1.0) * (z > 0)
            body = (height > outfit.hem + wave) & (height < neck + 0.5 * wave) & (x < outfit.sleeve + wave)
            out.append((outfit.top, body))
        if outfit.shoes is not None:
            out.append((outfit.shoes, height < outfit.shoe_top + 0.5 * wave))
        return [(cloth, where & ~bare) for cloth, where in out]

    def _face(self, color: Array, gloss: Array, points: Array, rows: NDArray[np.int64]) -> None:
        """Lips, brows, cheeks, beard and hair on the head's rows."""
        if not len(rows):
            return
        outfit, at = self.outfit, points[rows]
        x, up, z = np.abs(at[:, 0]), at[:, 1] - GROUND - EYE_LEVEL, at[:, 2]
        own = color[rows]
        front = z > 0.055
        fine = value_noise(at, 0.006, self.shift)
        arch = MOUTH + 0.0010 + 0.0085 * np.clip(1.0 - x / 0.026, 0.0, 1.0) ** 0.7
        bow = MOUTH - 0.0010 - 0.0115 * np.clip(1.0 - (x / 0.025) ** 2, 0.0, 1.0)
        lips = front * (x < 0.0255) * smoothstep(arch - up, 0.0, 0.002) * smoothstep(up - bow, 0.0, 0.002)
        red = self.looks.tone * np.array([0.95, 0.62, 0.62], np.float32) + np.array(
            [0.03, 0.0, 0.0], np.float32
        )
        own = _mix(own, red, outfit.lips * lips)
        inside = front * (x < 0.0255) * smoothstep(0.0019 - np.abs(up - MOUTH), 0.0, 0.0012)
        own = _mix(own, MOUTH_INSIDE, 0.9 * inside)
        brow_up = 0.0205 + 0.20 * (x - 0.013) - 8.0 * np.maximum(x - 0.034, 0.0) ** 1.7
        brow = smoothstep(0.0042 - np.abs(up - brow_up), 0.0, 0.002) * (x > 0.010) * (x < 0.052) * front
        own = _mix(own, 0.8 * outfit.hair, 0.85 * brow * (0.75 + 0.25 * fine))
        if outfit.beard:
            low = smoothstep(-0.052 - 0.6 * np.maximum(x - 0.030, 0.0) - up, -0.012, 0.012)
            low *= smoothstep(at[:, 1] - GROUND + 0.476 * z - 1.482, -0.01, 0.02) * smoothstep(z, -0.01, 0.03)
            own = _mix(own, outfit.hair, 0.8 * outfit.beard * low * (1.0 - lips) * (0.8 + 0.2 * fine))
        shine = np.full(len(rows), 0.35, np.float32) + 0.5 * lips
        if outfit.hairline is not None:
            amount = self._hair_amount(x, up, z, fine)
            strands = 1.0 + 0.45 * value_noise(at * np.array([1.0, 0.15, 0.6], np.float32), 0.004, self.shift)
            own = _mix(own, outfit.hair * strands[:, None], amount)
            shine = shine * (1.0 - amount) + 0.5 * amount
        color[rows], gloss[rows] = own, shine

    def _hair_amount(self, x: Array, up: Array, z: Array, fine: Array) -> Array:
        """1 where hair grows: above the hairline in front, above the ears beside, to its length behind."""
        outfit = self.outfit
        assert outfit.hairline is not None
        temple = smoothstep(x, 0.040, 0.068)
        front_edge = outfit.hairline - 0.045 * temple + 0.004 * fine
        back = smoothstep(-z, -0.005, 0.030)
        edge = front_edge * (1.0 - back) - outfit.hair_length * back
        ear = smoothstep(x, 0.0765, 0.0790)
        return np.asarray(smoothstep(up - edge, -0.003, 0.004) * (1.0 - ear), np.float32)

    def _eyes(self, color: Array, gloss: Array, points: Array, rows: NDArray[np.int64]) -> None:
        """White, iris and pupil by the angle from the eye's axis."""
        if not len(rows):
            return
        at = points[rows] * np.sign(points[rows, :1]) ** np.array([1.0, 0.0, 0.0], np.float32)
        local = (at - joints()[INDEX["left_eye"]]) / EYE_RADIUS
        off_axis = np.hypot(local[:, 0], local[:, 1])
        iris = smoothstep(0.50 - off_axis, -0.03, 0.03)
        pupil = smoothstep(0.22 - off_axis, -0.02, 0.02)
        own = _mix(np.tile(WHITE, (len(rows), 1)), self.outfit.iris, iris)
        color[rows] = _mix(own, np.zeros(3, np.float32) + 0.004, pupil)
        gloss[rows] = 2.0


def _mix(color: Array, other: Array, amount: Array) -> Array:
    return np.asarray(color + amount[:, None] * (other - color), np.float32)


def _folds(points: Array, shift: float) -> Array:
    """Tilt of normals by folds of cloth, `[K, 3]`."""
    stretched = points * np.array([1.0, 0.45, 1.0], np.float32)
    return 0.28 * vector_noise(stretched, 0.045, shift) + 0.10 * vector_noise(points, 0.016, shift)
