"""The description of a picture of a person: all its parameters, sampled from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.synth.body.collisions import touches_itself
from shared_tmu.synth.body.model import BodyPose
from shared_tmu.synth.body.poses import MIRRORED_TURN, angles_to_pose, sample_angles
from shared_tmu.synth.chance import NAMED, Chance, Draws
from shared_tmu.synth.poses import sample_hand_poses
from shared_tmu.synth.scene import Appearance, Difficulty

Array = NDArray[np.float32]
UPRIGHT = Rotation.from_euler("x", 180, degrees=True)  # y up, facing +z: y down, facing the camera
TRIES = 30  # poses drawn until one has no self-intersection


@dataclass(frozen=True)
class BodyScene(Appearance):
    """One person in front of a camera. Axis-angle in radians, metres, camera x right, y down, z forward.

    Attributes:
        pose: pose of all joints.
        betas: shape, `[10]`.
        expression: `[10]`.
        distance_m: depth of the person's middle.
        offset: its sideways place as a share of the depth, `[2]`.
        fill: height of the person's box, or 4/3 of its width, as a share of the crop's height.
        centre_shift: shift of the box from the crop's middle, relative to the crop's height, `[2]`.
        upper_share: which share of the person, from above, the box is put around; 1 is everything.
        seed, difficulty, draws, frame: see `Appearance`.
    """

    pose: BodyPose
    betas: Array
    expression: Array
    distance_m: float
    offset: Array
    fill: float
    centre_shift: Array
    upper_share: float
    seed: tuple[int, ...]
    difficulty: Difficulty = field(default_factory=Difficulty)
    draws: Draws = NAMED
    frame: int | None = None


def _orientation(rng: np.random.Generator, lean_deg: float, max_turn_deg: float) -> Rotation:
    """A random orientation: people mostly face the camera, cameras look down slightly, few people lie."""
    turn = rng.normal(0.0, 50.0) if rng.random() < 0.6 else rng.uniform(-180.0, 180.0)
    turn = float(np.clip(turn, -max_turn_deg, max_turn_deg))
    pitch, roll = rng.normal(6.0, 12.0), rng.normal(0.0, 5.0)
    if rng.random() < 0.04 and max_turn_deg >= 180.0:  # lying, upside down, anything
        return Rotation.random(random_state=rng)
    camera = Rotation.from_euler("zx", [roll, pitch], degrees=True)
    return camera * UPRIGHT * Rotation.from_euler("xy", [lean_deg, turn], degrees=True)


def sample_body_scene(
    seed: int, index: int, difficulty: Difficulty | None = None, draws: Draws = NAMED
) -> BodyScene:
    """One scene of an endless sequence; the same arguments give the same scene.

    Args:
        seed: names the sequence.
        index: which of its scenes.
        difficulty: how difficult it may be; the full range by default.
        draws: see `chance`.
    """
    difficulty = difficulty or Difficulty()
    chance = Chance((seed, index, 2), draws)
    rng = chance.of("pose")
    for _ in range(TRIES):
        body, lean = angles_to_pose(sample_angles(rng))
        if not touches_itself(body):
            break
    hands = sample_hand_poses(chance.of("fingers"), 2)
    rng = chance.of("jaw")
    jaw = np.array([np.radians(max(rng.normal(-4.0, 8.0), 0.0)), 0.0, 0.0])
    root = _orientation(chance.of("orientation"), lean, difficulty.max_turn_deg)
    pose = BodyPose(
        root=root.as_rotvec().astype(np.float32),
        body=body.astype(np.float32),
        left_hand=(hands[0] * MIRRORED_TURN).astype(np.float32),
        right_hand=hands[1].astype(np.float32),
        jaw=jaw.astype(np.float32),
    )
    rng = chance.of("place")
    partly = rng.random() < 0.18
    return BodyScene(
        pose=pose,
        betas=np.clip(chance.of("shape").normal(0.0, 1.0, 10), -2.5, 2.5).astype(np.float32),
        expression=np.clip(chance.of("expression").normal(0.0, 0.8, 10), -2.0, 2.0).astype(np.float32),
        distance_m=float(np.exp(rng.uniform(np.log(1.8), np.log(9.0)))),
        offset=rng.uniform(-0.15, 0.15, 2).astype(np.float32),
        fill=float(np.exp(rng.normal(0.0, 0.06)) / 1.2),
        centre_shift=rng.normal(0.0, 0.02, 2).astype(np.float32),
        upper_share=float(rng.uniform(0.35, 0.85)) if partly else 1.0,
        seed=(seed, index, 3),
        difficulty=difficulty,
        draws=draws,
    )
