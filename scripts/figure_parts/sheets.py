"""The pictures that show SynthHand and SynthBody: sheets of poses, of training pictures, and the samples.

The samples are what the demo, the overview and the demo grids read; their scenes are known, and so is the
true mesh of each.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from figure_parts.table import Figure, Pictures
from shared_tmu.synth.body.generator import draw_body
from shared_tmu.synth.body.model import BodyPose, synth_body
from shared_tmu.synth.body.placing import place_body
from shared_tmu.synth.body.poses import posture_pose as body_posture
from shared_tmu.synth.body.scene import UPRIGHT, BodyScene, sample_body_scene
from shared_tmu.synth.chance import ONE_GENERATOR
from shared_tmu.synth.generator import draw, place_hand, to_bgr
from shared_tmu.synth.poses import posture_pose
from shared_tmu.synth.scene import UPRIGHT_BACK, Difficulty, Scene, sample_scene

FOCAL_PX = 540.0
PLAIN = Difficulty(180.0, clutter=0.0, degrade=0.0)
SHEET = (
    "flat", "relaxed", "fist", "point", "victory", "ok", "pinch", "cylinder", "thumb_up", "horns", "claw",
)  # fmt: skip
BODY_SHEET = (
    "standing", "walking", "sitting", "arms_up", "crouching", "waving", "hands_on_hips", "running",
    "pointing", "bowing",
)  # fmt: skip
BODY_PIXELS_PER_M = 145.0
VARIED_SEED = 5  # seed of the sheets of varied training pictures
HAND_SEED, BODY_SEED = 30, 11  # seeds of skin, clothes and light on the sheets
# Scenes of seed 77 in which hand and posture are easy to see; negative numbers are mirrored into left hands.
SAMPLES = (2, -21, 18, -23, 33, 7)
HAND_PICTURE, BODY_PICTURE = (640, 480, 1.5), (480, 640)
"""Width and height of a sample, and pixels per pixel of the crop."""
PEOPLE = (1, 3, 4, 6, 11, 13)  # scenes of the same seed in which the posture is easy to see


def posture_scene(name: str, view: NDArray[np.float64], seed: int) -> Scene:
    """A named posture seen from a side: `view` is the hand's rotation matrix `[3, 3]`."""
    zeros = np.zeros(3, np.float32)
    scene = Scene(
        root=Rotation.from_matrix(view).as_rotvec().astype(np.float32),
        fingers=posture_pose(name).astype(np.float32),
        betas=np.zeros(10, np.float32),
        distance_m=0.6,
        offset=zeros[:2],
        hand_size_px=165.0,
        centre_shift_px=zeros[:2],
        wrist_bend=zeros,
        seed=(seed,),
        difficulty=PLAIN,
        draws=ONE_GENERATOR,
    )
    points = place_hand(scene).keypoints
    extent = np.ptp(points[:, :2] / points[:, 2:], axis=0) * [4 / 3, 1]
    return replace(scene, hand_size_px=float(extent.max() * FOCAL_PX))  # the same camera for every posture


def draw_sheet(seed: int = HAND_SEED) -> NDArray[np.uint8]:
    """Back, palm and thumb side of the rest pose and ten postures."""
    palm = UPRIGHT_BACK @ np.diag([1.0, -1.0, -1.0])
    side = Rotation.from_euler("y", -75, degrees=True).as_matrix() @ UPRIGHT_BACK
    columns = []
    for name in SHEET:
        scenes = [posture_scene(name, view, seed) for view in (UPRIGHT_BACK, palm, side)]
        column = to_bgr(np.concatenate([draw(scene, 200, 256).image for scene in scenes]))
        label = "rest (flat)" if name == "flat" else name.replace("_", " ")
        write_label(column, label)
        columns.append(column)
    return np.concatenate(columns, axis=1)


def body_scene(name: str, turn_deg: float, seed: int) -> BodyScene:
    """A named posture of the average person, rotated about the vertical axis."""
    body, lean_deg = body_posture(name)
    turn = UPRIGHT * Rotation.from_euler("xy", [lean_deg, turn_deg], degrees=True)
    zeros = np.zeros(10, np.float32)
    pose = BodyPose(
        turn.as_rotvec().astype(np.float32), body.astype(np.float32), *synth_body().mean_hands, zeros[:3]
    )
    scene = BodyScene(pose, zeros, zeros, 6.0, zeros[:2], 1.0, zeros[:2], 1.0, (seed,), PLAIN, ONE_GENERATOR)
    points = place_body(scene).vertices
    extent = np.ptp(points[:, :2] / points[:, 2:], axis=0) * [320 / 240, 1]
    return replace(scene, fill=float(extent.max() * scene.distance_m * BODY_PIXELS_PER_M / 320))


def draw_body_sheet(seed: int = BODY_SEED) -> NDArray[np.uint8]:
    """Front, side and back of SynthBody in ten postures."""
    columns = []
    for name in BODY_SHEET:
        scenes = [body_scene(name, turn, seed) for turn in (-20.0, -80.0, 165.0)]
        column = to_bgr(np.concatenate([draw_body(scene, 240, 320).image for scene in scenes]))
        write_label(column, name.replace("_", " "))
        columns.append(column)
    return np.concatenate(columns, axis=1)


def draw_varied(columns: int = 8, rows: int = 4) -> Pictures:
    """Sheets of photograph-like training pictures, as the networks see them."""
    wild = Difficulty(variety=1.0)
    hands = [draw(sample_scene(VARIED_SEED, i, wild), 192, 256).image for i in range(columns * rows)]
    people = [draw_body(sample_body_scene(VARIED_SEED, i, wild)).image for i in range(columns * rows // 2)]
    found = {}
    for name, images in (("synthhand_varied.jpg", hands), ("synthbody_varied.jpg", people)):
        lines = [np.concatenate(images[k : k + columns], 1) for k in range(0, len(images), columns)]
        found[name] = to_bgr(np.concatenate(lines))
    return found


def write_label(column: NDArray[np.uint8], label: str) -> None:
    """White letters with a dark core at the top of a picture, in place."""
    for color, thickness in (((255, 255, 255), 2), ((40, 40, 40), 1)):
        cv2.putText(column, label, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, color, thickness, cv2.LINE_AA)


def sample_hand(index: int) -> Scene:
    """The scene of a sample, before mirroring."""
    return sample_scene(77, abs(index), Difficulty(70.0, 0.5, 0.2), ONE_GENERATOR)


def draw_samples() -> Pictures:
    """Pictures of one hand each, 640x480, and of one person each, 480x640."""
    found = {}
    for number, index in enumerate(SAMPLES, start=1):
        picture = to_bgr(draw(sample_hand(index), *HAND_PICTURE).image)
        side = "left" if index < 0 else "right"
        found[f"samples/synthhand_{number}_{side}.jpg"] = picture[:, ::-1] if index < 0 else picture
    for number, index in enumerate(PEOPLE, start=1):
        picture = to_bgr(draw_body(people_scene(index), *BODY_PICTURE).image)
        found[f"samples_people/synthbody_{number}.jpg"] = picture
    return found


def people_scene(index: int) -> BodyScene:
    """A whole person who fills three quarters of an upright picture."""
    scene = sample_body_scene(77, index, Difficulty(70.0, 0.4, 0.2), ONE_GENERATOR)
    return replace(scene, fill=0.75, centre_shift=np.zeros(2, np.float32), upper_share=1.0)


def rows() -> list[Figure]:
    """The sheets of poses, those of training pictures, and the samples."""
    return [
        Figure(
            *("sheets", "synthhand", "the hand's rest pose and ten postures, from three sides", ()),
            lambda _: {"synthhand.png": draw_sheet()},
            is_picture=True,
        ),
        Figure(
            *("sheets", "synthbody", "the person in ten postures, from three sides", ()),
            lambda _: {"synthbody.png": draw_body_sheet()},
            is_picture=True,
        ),
        Figure(
            *("varied", "synth*_varied", "training pictures with a photograph-like appearance", ()),
            lambda _: draw_varied(),
            is_picture=True,
        ),
        Figure(
            *("samples", "samples*/*", "the sample pictures of hands and people", ()),
            lambda _: draw_samples(),
            is_picture=True,
        ),
    ]
