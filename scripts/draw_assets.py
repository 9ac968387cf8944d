"""Draws the pictures of assets/ that show SynthHand and SynthBody: sheets of poses, sample pictures.

Run it as:

    python scripts/draw_assets.py              # assets/synthhand.png, synthbody.png, samples*/*.jpg
    python scripts/draw_assets.py --varied     # assets/synthhand_varied.jpg and synthbody_varied.jpg only
    bash scripts/demo.sh --tokens
    python scripts/draw_assets.py --demo_out demo_out/HaMeR     # assets/hamer_5x20.jpg from these results
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.files import replacing
from shared_tmu.programs.console import run_program
from shared_tmu.synth.body.generator import draw_body
from shared_tmu.synth.body.model import BodyPose, synth_body
from shared_tmu.synth.body.placing import place_body
from shared_tmu.synth.body.poses import posture_pose as body_posture
from shared_tmu.synth.body.scene import UPRIGHT, BodyScene, sample_body_scene
from shared_tmu.synth.generator import draw, place_hand, to_bgr
from shared_tmu.synth.poses import posture_pose
from shared_tmu.synth.scene import UPRIGHT_BACK, Difficulty, Scene, sample_scene

ASSETS = Path(__file__).parents[1] / "assets"
README_HANDS = ("synthhand_1_right", "synthhand_2_left", "synthhand_5_right")
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
BODY_SEED = 11  # seed of clothes and light on the sheet
# Scenes of seed 77 in which hand and posture are easy to see; negative numbers are mirrored into left hands.
SAMPLES = (2, -21, 18, -23, 33, 7)
PEOPLE = (1, 3, 4, 6, 11, 13)  # scenes of the same seed in which the posture is easy to see


def write_picture(path: Path, picture: NDArray[np.uint8], quality: int = 88) -> None:
    """Write a BGR picture in the format of the suffix; `quality` is for JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    with replacing(path) as beside:
        if not cv2.imwrite(str(beside), picture, options):
            raise OSError(f"OpenCV cannot write {path}.")


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
    )
    points = place_hand(scene).keypoints
    extent = np.ptp(points[:, :2] / points[:, 2:], axis=0) * [4 / 3, 1]
    return replace(scene, hand_size_px=float(extent.max() * FOCAL_PX))  # the same camera for every posture


def draw_sheet(path: Path, seed: int) -> None:
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
    write_picture(path, np.concatenate(columns, axis=1))


def body_scene(name: str, turn_deg: float, seed: int) -> BodyScene:
    """A named posture of the average person, rotated about the vertical axis."""
    body, lean_deg = body_posture(name)
    turn = UPRIGHT * Rotation.from_euler("xy", [lean_deg, turn_deg], degrees=True)
    zeros = np.zeros(10, np.float32)
    pose = BodyPose(
        turn.as_rotvec().astype(np.float32), body.astype(np.float32), *synth_body().mean_hands, zeros[:3]
    )
    scene = BodyScene(pose, zeros, zeros, 6.0, zeros[:2], 1.0, zeros[:2], 1.0, (seed,), PLAIN)
    points = place_body(scene).vertices
    extent = np.ptp(points[:, :2] / points[:, 2:], axis=0) * [320 / 240, 1]
    return replace(scene, fill=float(extent.max() * scene.distance_m * BODY_PIXELS_PER_M / 320))


def draw_body_sheet(path: Path, seed: int) -> None:
    """Front, side and back of SynthBody in ten postures."""
    columns = []
    for name in BODY_SHEET:
        scenes = [body_scene(name, turn, seed) for turn in (-20.0, -80.0, 165.0)]
        column = to_bgr(np.concatenate([draw_body(scene, 240, 320).image for scene in scenes]))
        write_label(column, name.replace("_", " "))
        columns.append(column)
    write_picture(path, np.concatenate(columns, axis=1))


def draw_varied(hands: Path, people: Path, columns: int = 8, rows: int = 4) -> None:
    """Sheets of photograph-like training pictures, as the networks see them."""
    wild = Difficulty(variety=1.0)
    pictures = [draw(sample_scene(VARIED_SEED, i, wild), 192, 256).image for i in range(columns * rows)]
    bodies = [draw_body(sample_body_scene(VARIED_SEED, i, wild)).image for i in range(columns * rows // 2)]
    for path, images in ((hands, pictures), (people, bodies)):
        lines = [np.concatenate(images[k : k + columns], 1) for k in range(0, len(images), columns)]
        write_picture(path, to_bgr(np.concatenate(lines)))


def write_label(column: NDArray[np.uint8], label: str) -> None:
    """White letters with a dark core at the top of a picture, in place."""
    for color, thickness in (((255, 255, 255), 2), ((40, 40, 40), 1)):
        cv2.putText(column, label, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, color, thickness, cv2.LINE_AA)


def draw_samples(folder: Path) -> None:
    """Pictures of one hand each, 640x480."""
    for number, index in enumerate(SAMPLES, start=1):
        scene = sample_scene(77, abs(index), Difficulty(70.0, 0.5, 0.2))
        picture = to_bgr(draw(scene, 640, 480, 1.5).image)
        if index < 0:
            picture = picture[:, ::-1]
        side = "left" if index < 0 else "right"
        write_picture(folder / f"synthhand_{number}_{side}.jpg", picture)


def people_scene(index: int) -> BodyScene:
    """A whole person who fills three quarters of an upright picture."""
    scene = sample_body_scene(77, index, Difficulty(70.0, 0.4, 0.2))
    return replace(scene, fill=0.75, centre_shift=np.zeros(2, np.float32), upper_share=1.0)


def draw_people(folder: Path, indices: Sequence[int] = PEOPLE) -> None:
    """Pictures of one person each, 480x640."""
    for number, index in enumerate(indices, start=1):
        picture = to_bgr(draw_body(people_scene(index), 480, 640).image)
        write_picture(folder / f"synthbody_{number}.jpg", picture)


def draw_readme(demo_out: Path, path: Path, names: Sequence[str] = README_HANDS) -> None:
    """A figure from the demo's output: crop, mesh over it, groups of tokens after the last merge; one row per
    hand.
    """
    rows = []
    for name in names:
        hand = cv2.imread(str(demo_out / f"{name}_0.png"))
        tokens = cv2.imread(str(demo_out / f"{name}_0_tokens.png"))
        if hand is None or tokens is None:
            raise SystemExit(
                f"{demo_out} has no pictures of {name}: run demo.py on assets/samples with --tokens first."
            )
        side = hand.shape[0]
        groups = tokens[-side:, -side * 3 // 4 :]  # the last panel, 3:4, without its title
        rows.append(np.concatenate([hand[:, : 2 * side], groups], axis=1))
    write_picture(path, np.concatenate(rows))


def main() -> None:
    """Draw the pictures that the command line selects."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder to write to")
    parser.add_argument("--seed", type=int, default=30, help="seed of skin and light on the hand's sheet")
    parser.add_argument(
        "--demo_out", type=Path, help="draw hamer_5x20.jpg from the demo's results in this folder"
    )
    parser.add_argument(
        "--varied",
        action="store_true",
        help="draw only the sheets of 32 hands and 16 people with --variety 1",
    )
    args = parser.parse_args()
    if args.varied:
        draw_varied(args.out / "synthhand_varied.jpg", args.out / "synthbody_varied.jpg")
        return
    if args.demo_out:
        draw_readme(args.demo_out, args.out / "hamer_5x20.jpg")
        return
    draw_sheet(args.out / "synthhand.png", args.seed)
    draw_body_sheet(args.out / "synthbody.png", BODY_SEED)
    draw_samples(args.out / "samples")
    draw_people(args.out / "samples_people")


if __name__ == "__main__":
    sys.exit(run_program(main))
