"""Draws scenes: a labelled picture of SynthHand per scene, deterministic for a seed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.chance import Chance
from shared_tmu.synth.geometry3d import Solid, forearm, make_solid, occluder
from shared_tmu.synth.hand import PosedHand, synth_hand
from shared_tmu.synth.other_hands import geometry_of, shown_at
from shared_tmu.synth.scene import Scene
from shared_tmu.synth.shading import Camera, LitSolids, Looks, Shot, Surface, photograph_stage, surface_labels
from shared_tmu.synth.skin import skin_albedo
from shared_tmu.synth.varied import photograph_hand

Array = NDArray[np.float32]


@dataclass(frozen=True)
class DrawnHand:
    """A drawn scene.

    Attributes:
        image: `[H, W, 3]` uint8, RGB.
        hand: the posed hand in the camera frame, metres; where another is shown, the SynthHand that fits it.
        camera: the camera that saw it.
        part: joint whose flesh each pixel shows plus one, 0 elsewhere, `[H, W]` uint8.
        canonical: place on the rest-pose hand at each hand pixel, metres, `[H, W, 3]`, zero elsewhere.
        depth: depth at each hand pixel minus that of the wrist, metres, `[H, W]`, zero elsewhere.
    """

    image: NDArray[np.uint8]
    hand: PosedHand
    camera: Camera
    part: NDArray[np.uint8]
    canonical: Array
    depth: Array


def place_hand(scene: Scene) -> PosedHand:
    """The scene's hand as it is labelled, in the camera frame."""
    posed = synth_hand().pose(scene.root, scene.fingers, scene.betas)
    middle = 0.5 * (posed.vertices.min(0) + posed.vertices.max(0))
    target = scene.distance_m * np.array([scene.offset[0], scene.offset[1], 1.0], np.float32)
    shift = (target - middle).astype(np.float32)
    return PosedHand(posed.vertices + shift, posed.keypoints + shift, posed.bone_rotmats)


def shown_hand(scene: Scene, hand: PosedHand) -> PosedHand:
    """The hand that the scene's picture shows, where its labelled `hand` is: another one if it names one."""
    return shown_at(hand, scene.other, scene.root, scene.fingers)


def frame_hand(scene: Scene, hand: PosedHand, width: int, height: int, scale: float) -> Camera:
    """The camera with which the hand's key points fill the box that the scene specifies.

    Args:
        scene: says how large the box is, and where.
        hand: in the camera frame, metres.
        width: picture width in pixels.
        height: picture height in pixels.
        scale: picture pixels per pixel of the 256-pixel crop; the crop's middle is the picture's.
    """
    points = hand.keypoints[:, :2] / hand.keypoints[:, 2:]
    low, high = points.min(0), points.max(0)
    extent = max(float(high[1] - low[1]), 4.0 / 3.0 * float(high[0] - low[0]))
    focal = scene.hand_size_px * scale / extent
    middle = np.array([width / 2.0, height / 2.0]) + scene.centre_shift_px * scale
    centre = middle - focal * 0.5 * (low + high)
    return Camera(float(focal), (float(centre[0]), float(centre[1])), width, height)


def _solids(chance: Chance, scene: Scene, hand: PosedHand) -> list[Solid]:
    """Forearm with or without sleeve, and sometimes an object."""
    rng = chance.of("arm")
    geometry = geometry_of(scene.other)
    out: list[Solid] = []
    vertices, faces, ring = forearm(geometry, hand, scene.root, scene.wrist_bend)
    if rng.random() < 0.93:
        cuff = int(rng.integers(0, 12)) if rng.random() < 0.6 else 99
        bare, covered = faces[ring < cuff], faces[ring >= cuff]
        if len(bare):
            out.append(make_solid(vertices, bare, None))
        if len(covered):
            axis = vertices.reshape(-1, len(geometry.rim), 3).mean(1).repeat(len(geometry.rim), 0)
            wide = axis + (vertices - axis) * rng.uniform(1.05, 1.35)
            out.append(make_solid(wide.astype(np.float32), covered, rng.beta(1.0, 1.8, 3).astype(np.float32)))
    rng = chance.of("object")
    if rng.random() < 0.30 * scene.difficulty.clutter:
        mesh = occluder(rng, hand, held=rng.random() < 0.75)
        out.append(make_solid(*mesh, rng.beta(1.0, 1.4, 3).astype(np.float32)))
    return out


def draw(scene: Scene, width: int = 256, height: int = 256, scale: float = 1.0) -> DrawnHand:
    """Draw a scene.

    Args:
        scene: what to draw; equal scenes give equal pictures.
        width: picture width in pixels.
        height: picture height in pixels.
        scale: picture pixels per pixel of the 256-pixel network crop, which is centred in the picture.

    Returns:
        The picture and its labels.

    Raises:
        MissingDependencyError: embreex is not installed.
    """
    hand = place_hand(scene)
    camera = frame_hand(scene, hand, width, height, scale)
    shot = take_shot(scene, shown_hand(scene, hand), camera)
    geometry = synth_hand()
    part, canonical, depth = surface_labels(shot, geometry.template, geometry.faces, geometry.part_of_vertex)
    depth[part > 0] -= hand.keypoints[0, 2]
    return DrawnHand(shot.image, hand, camera, part, canonical, depth)


def take_shot(scene: Scene, hand: PosedHand, camera: Camera) -> Shot:
    """The scene's photograph with a camera of any place.

    Args:
        scene: gives the appearance.
        hand: that is shown, in the camera frame, metres.
        camera: the camera.

    Raises:
        MissingDependencyError: embreex is not installed.
    """
    return photograph_hand(scene, hand, camera) if scene.is_varied else _plain_shot(scene, hand, camera)


def _plain_shot(scene: Scene, hand: PosedHand, camera: Camera) -> Shot:
    """The scene's photograph without variety."""
    chance = scene.looks()
    looks = Looks(chance.of("light"))
    main = make_solid(hand.vertices, synth_hand().faces, None)
    skin = _skin(looks, chance.seed_of_skin(looks.tone))
    stage = LitSolids(main, skin, _solids(chance, scene, hand), looks)
    return photograph_stage(chance, stage, camera, scene.difficulty.clutter, scene.difficulty.degrade)


def _skin(looks: Looks, seed: int) -> Surface:
    """The hand's skin; the same in every rendering pass."""

    def surface(face: NDArray[np.int32], bary: Array) -> tuple[Array, Array, None]:
        return *skin_albedo(np.random.default_rng(seed), looks.tone, face, bary), None

    return surface


def to_bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB to OpenCV's channel order."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
