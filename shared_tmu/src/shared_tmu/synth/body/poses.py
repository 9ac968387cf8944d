"""Everyday poses of a person: joint angles within the limits of joints, sampled around common postures.

Angles are anatomical and in degrees. Arms: `elevation` from hanging (0) over level (90) to straight up, in
the plane given by `azimuth` (0 to the side, 90 to the front), `twist` about the upper arm (negative turns the
forearm up when the arm is level). Legs: `flexion` to the front, `abduction` to the side, `twist` outwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.synth.body.anatomy import INDEX

Array = NDArray[np.float64]
MIRRORED_TURN = np.array([1.0, -1.0, -1.0])  # an axis-angle seen in a mirror across x


@dataclass(frozen=True)
class Arm:
    """One arm, degrees; the limits are those of `LIMITS`."""

    elevation: float = 12.0
    azimuth: float = 10.0
    twist: float = 0.0
    elbow: float = 12.0
    pronation: float = 0.0
    wrist: float = 0.0
    wrist_side: float = 0.0


@dataclass(frozen=True)
class Leg:
    """One leg, degrees."""

    flexion: float = 0.0
    abduction: float = 3.0
    twist: float = 4.0
    knee: float = 3.0
    ankle: float = 0.0
    toes: float = 0.0


@dataclass(frozen=True)
class Posture:
    """A whole person, degrees. Bending is forwards, sideways (to the left) and twist (to the left)."""

    left_arm: Arm = field(default_factory=Arm)
    right_arm: Arm = field(default_factory=Arm)
    left_leg: Leg = field(default_factory=Leg)
    right_leg: Leg = field(default_factory=Leg)
    spine: tuple[float, float, float] = (0.0, 0.0, 0.0)
    neck: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lean: float = 0.0


# Ranges of motion as in orthopaedic tables (American Academy of Orthopaedic Surgeons), rounded.
LIMITS: dict[str, tuple[float, float]] = {
    "elevation": (8, 172), "azimuth": (-45, 125), "twist": (-95, 70), "elbow": (0, 142),
    "pronation": (-85, 75), "wrist": (-65, 70), "wrist_side": (-20, 30),
    "flexion": (-22, 122), "abduction": (-8, 55), "leg_twist": (-25, 45), "knee": (0, 142),
    "ankle": (-40, 22), "toes": (-25, 50),
}  # fmt: skip
SPINE_LIMITS = ((-22.0, 75.0), (-32.0, 32.0), (-42.0, 42.0))
NECK_LIMITS = ((-45.0, 45.0), (-35.0, 35.0), (-70.0, 70.0))
SPREAD = {  # standard deviation of the random angles that are added
    "elevation": 9, "azimuth": 14, "twist": 14, "elbow": 12, "pronation": 22, "wrist": 14, "wrist_side": 7,
    "flexion": 7, "abduction": 4, "leg_twist": 6, "knee": 7, "ankle": 6, "toes": 4,
}  # fmt: skip


def _both(arm: Arm | None = None, leg: Leg | None = None, **rest: object) -> Posture:
    """The same on both sides."""
    arm, leg = arm or Arm(), leg or Leg()
    return Posture(arm, arm, leg, leg, **rest)  # type: ignore[arg-type]


_HIP_HAND = Arm(elevation=42, azimuth=-22, twist=48, elbow=92, pronation=20, wrist=-25)
_PHONE = Arm(elevation=32, azimuth=70, twist=-10, elbow=128, pronation=-30)
_WAVE = Arm(elevation=88, azimuth=8, twist=-82, elbow=72)
_RELAXED = Arm(elevation=13, azimuth=25, elbow=22)
_SEAT = Leg(flexion=86, abduction=8, knee=88, twist=2)
_STRIDE_FRONT, _STRIDE_BACK = Leg(flexion=28, knee=8, ankle=4), Leg(flexion=-18, knee=22, ankle=-22, toes=-22)
_SWING_FRONT = Arm(elevation=28, azimuth=92, elbow=32)
_SWING_BACK = Arm(elevation=26, azimuth=-40, elbow=16)

POSTURES: dict[str, Posture] = {
    "standing": _both(_RELAXED),
    "attention": _both(Arm(elevation=10, azimuth=5, elbow=4)),
    "walking": Posture(_SWING_BACK, _SWING_FRONT, _STRIDE_FRONT, _STRIDE_BACK, spine=(4, 0, 6)),
    "running": Posture(
        Arm(elevation=42, azimuth=-45, elbow=95, twist=10), Arm(elevation=45, azimuth=80, elbow=105),
        Leg(flexion=62, knee=85), Leg(flexion=-15, knee=48, ankle=-28, toes=-20), spine=(14, 0, 10), lean=8,
    ),
    "sitting": _both(Arm(elevation=30, azimuth=80, elbow=42, twist=8), _SEAT, spine=(6, 0, 0)),
    "sitting_typing": _both(Arm(elevation=22, azimuth=75, elbow=88, pronation=35), _SEAT, spine=(10, 0, 0)),
    "sitting_cross_legged": Posture(
        Arm(elevation=36, azimuth=62, elbow=40), Arm(elevation=36, azimuth=62, elbow=40),
        Leg(flexion=92, abduction=42, twist=45, knee=112), Leg(flexion=86, abduction=44, twist=42, knee=138),
        spine=(12, 0, 0),
    ),
    "arms_up": _both(Arm(elevation=160, azimuth=20, elbow=12)),
    "t_pose": _both(Arm(elevation=90, azimuth=0, elbow=0)),
    "surrender": _both(Arm(elevation=85, azimuth=5, twist=-85, elbow=85)),
    "crouching": _both(
        Arm(elevation=72, azimuth=70, elbow=12), Leg(flexion=115, abduction=16, twist=10, knee=132, ankle=20),
        spine=(24, 0, 0), neck=(-15, 0, 0), lean=12,
    ),
    "waving": Posture(_RELAXED, _WAVE, neck=(0, 0, -8)),
    "hands_on_hips": _both(_HIP_HAND),
    "one_hand_on_hip": Posture(_HIP_HAND, _RELAXED, Leg(), Leg(knee=14, flexion=10), spine=(0, 6, 0)),
    "arms_crossed": Posture(
        Arm(elevation=33, azimuth=80, elbow=98, twist=36), Arm(elevation=52, azimuth=82, elbow=98, twist=40)
    ),
    "phone": Posture(_RELAXED, _PHONE, neck=(5, -6, 0)),
    "looking_at_phone": _both(Arm(elevation=22, azimuth=80, elbow=108, twist=12), neck=(28, 0, 0)),
    "pointing": Posture(_RELAXED, Arm(elevation=88, azimuth=72, elbow=4), neck=(0, 0, -12)),
    "lunging": Posture(
        _HIP_HAND, _HIP_HAND, Leg(flexion=78, knee=88), Leg(flexion=-20, knee=55, ankle=-10, toes=-45)
    ),
    "bowing": _both(Arm(elevation=30, azimuth=60, elbow=10), Leg(flexion=32), spine=(58, 0, 0), lean=32),
    "reaching_up": Posture(
        Arm(elevation=165, azimuth=40, elbow=8), _RELAXED, spine=(-6, -8, 0), neck=(-22, 0, 0)
    ),
    "kicking": Posture(
        Arm(elevation=50, azimuth=10), Arm(elevation=55, azimuth=30),
        Leg(knee=10), Leg(flexion=75, knee=12, ankle=-30),
    ),
    "kneeling": _both(_RELAXED, Leg(flexion=12, knee=105, ankle=-35), spine=(4, 0, 0)),
    "dancing": Posture(
        Arm(elevation=120, azimuth=20, elbow=45, twist=-30),
        Arm(elevation=70, azimuth=-10, elbow=50, twist=-40),
        Leg(flexion=25, abduction=18, knee=40, twist=15), Leg(abduction=8, knee=12), spine=(0, 12, 12),
    ),
    "clapping": _both(Arm(elevation=48, azimuth=78, elbow=72, twist=12)),
    "carrying": _both(Arm(elevation=26, azimuth=80, elbow=82, twist=0, pronation=-60), spine=(-5, 0, 0)),
    "hands_behind_head": _both(Arm(elevation=108, azimuth=12, twist=-75, elbow=128)),
    "stretching": _both(Arm(elevation=95, azimuth=-15, elbow=8), spine=(-12, 0, 0), neck=(-20, 0, 0)),
    "throwing": Posture(
        Arm(elevation=80, azimuth=70, elbow=25), Arm(elevation=95, azimuth=-20, twist=-80, elbow=85),
        Leg(flexion=35, knee=25), Leg(flexion=-12, knee=15, ankle=-10), spine=(0, -6, -25),
    ),
    "side_bend": Posture(Arm(elevation=168, azimuth=10, elbow=25), _HIP_HAND, spine=(0, -28, 0)),
}  # fmt: skip


def _to_vector(posture: Posture) -> Array:
    """All angles in one row."""
    rows = [getattr(part, f.name) for part in _limbs(posture) for f in fields(part)]
    return np.array([*rows, *posture.spine, *posture.neck, posture.lean], dtype=np.float64)


def _limbs(posture: Posture) -> tuple[Arm, Arm, Leg, Leg]:
    return posture.left_arm, posture.right_arm, posture.left_leg, posture.right_leg


def _names() -> list[str]:
    arm = [f.name for f in fields(Arm)]
    leg = ["leg_twist" if f.name == "twist" else f.name for f in fields(Leg)]
    return [*arm, *arm, *leg, *leg]


_LOW = np.array([LIMITS[n][0] for n in _names()] + [low for low, _ in (*SPINE_LIMITS, *NECK_LIMITS)] + [-10])
_HIGH = np.array(
    [LIMITS[n][1] for n in _names()] + [high for _, high in (*SPINE_LIMITS, *NECK_LIMITS)] + [40]
)
_SPREAD = np.array([SPREAD[n] for n in _names()] + [6, 5, 8, 9, 6, 18, 3], dtype=float)
_MIRROR = np.concatenate(
    [np.arange(7, 14), np.arange(7), np.arange(20, 26), np.arange(14, 20), np.arange(26, 33)]
)
_MIRROR_SIGN = np.concatenate([np.ones(26), [1, -1, -1, 1, -1, -1, 1]])
_TABLE = np.stack([_to_vector(posture) for posture in POSTURES.values()])


def sample_angles(rng: np.random.Generator) -> Array:
    """One row of angles within the limits: a posture, or upper and lower body of two, with random changes."""
    first, second = rng.integers(len(_TABLE), size=2)
    row = _TABLE[first].copy()
    if rng.random() < 0.35:  # arms, neck and spine of one, legs of another
        other = _TABLE[second]
        row[14:26] = other[14:26]
    elif rng.random() < 0.3:
        share = rng.uniform(0.0, 1.0)
        row = (1 - share) * row + share * _TABLE[second]
    if rng.random() < 0.5:
        row = (row * _MIRROR_SIGN)[_MIRROR]
    if rng.random() < 0.20:  # an arm that does anything
        side = 7 * rng.integers(2)
        low, high = _LOW[side : side + 7], _HIGH[side : side + 7]
        row[side : side + 7] = low + (high - low) * rng.beta(1.3, 1.3, 7)
    row += rng.normal(0.0, 1.0, len(row)) * _SPREAD * np.exp(rng.normal(0.0, 0.4))
    return np.asarray(np.clip(row, _LOW, _HIGH))


def _turn(axis: str, degrees: float) -> Rotation:
    return Rotation.from_euler(axis, degrees, degrees=True)


def _left_arm(angles: Array) -> dict[str, Rotation]:
    """Rotations of the left arm's joints, of which the collar takes over part of the shoulder's."""
    elevation, azimuth, twist, elbow, pronation, wrist, wrist_side = angles
    e, a = np.radians(elevation), np.radians(azimuth)
    heading = np.array([np.sin(e) * np.cos(a), -np.cos(e), np.sin(e) * np.sin(a)])
    axis = np.cross([1.0, 0.0, 0.0], heading)
    swing = Rotation.from_rotvec(axis / max(float(np.linalg.norm(axis)), 1e-9) * np.arccos(heading[0]))
    lift = float(np.clip(0.22 * (elevation - 70.0), -12.0, 24.0))
    forward = float(np.clip(0.16 * azimuth * np.sin(e), -8.0, 20.0))
    collar = _turn("z", lift) * _turn("y", -forward)
    return {
        "left_collar": collar,
        "left_shoulder": collar.inv() * swing * _turn("x", twist),
        "left_elbow": _turn("y", -elbow) * _turn("x", 0.5 * pronation),
        "left_wrist": _turn("x", 0.5 * pronation) * _turn("y", -wrist_side) * _turn("z", -wrist),
    }


def _left_leg(angles: Array) -> dict[str, Rotation]:
    flexion, abduction, twist, knee, ankle, toes = angles
    return {
        "left_hip": _turn("x", -flexion) * _turn("z", abduction) * _turn("y", twist),
        "left_knee": _turn("x", knee),
        "left_ankle": _turn("x", -ankle),
        "left_foot": _turn("x", toes),
    }


def _spread_over(names: tuple[str, ...], shares: tuple[float, ...], bend: Array) -> dict[str, Rotation]:
    forward, side, twist = bend
    return {
        name: Rotation.from_euler("yxz", [share * twist, share * forward, -share * side], degrees=True)
        for name, share in zip(names, shares, strict=True)
    }


def angles_to_pose(angles: Array) -> tuple[Array, float]:
    """Axis-angles of joints 1..21, `[21, 3]` radians, and how far the person leans forwards, degrees."""
    turns: dict[str, Array] = {}
    for made, mirrored in (
        (_left_arm(angles[:7]), False), (_left_arm(angles[7:14]), True),
        (_left_leg(angles[14:20]), False), (_left_leg(angles[20:26]), True),
    ):  # fmt: skip
        for name, turn in made.items():
            rotvec = turn.as_rotvec()
            if mirrored:
                turns[name.replace("left", "right")] = rotvec * MIRRORED_TURN
            else:
                turns[name] = rotvec
    trunk = _spread_over(("spine1", "spine2", "spine3"), (0.4, 0.35, 0.25), angles[26:29])
    trunk |= _spread_over(("neck", "head"), (0.45, 0.55), angles[29:32])
    turns |= {name: turn.as_rotvec() for name, turn in trunk.items()}
    out = np.zeros((21, 3))
    for name, rotvec in turns.items():
        out[INDEX[name] - 1] = rotvec
    return out, float(angles[32])


def posture_pose(name: str) -> tuple[Array, float]:
    """One of `POSTURES` without random changes: see `angles_to_pose`."""
    return angles_to_pose(np.clip(_to_vector(POSTURES[name]), _LOW, _HIGH))
