"""Draws people: a labelled picture of SynthBody per scene, deterministic for a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.synth.body.model import PosedBody, synth_body
from shared_tmu.synth.body.outfit import Wardrobe, sample_outfit
from shared_tmu.synth.body.placing import frame_body, place_body
from shared_tmu.synth.body.scene import BodyScene
from shared_tmu.synth.environment import Environment
from shared_tmu.synth.geometry3d import Solid, make_solid, primitives
from shared_tmu.synth.ground import sample_ground
from shared_tmu.synth.paint import Paint, Painted
from shared_tmu.synth.photograph import photograph_varied
from shared_tmu.synth.shading import Camera, LitSolids, Looks, Shot, photograph_stage, surface_labels
from shared_tmu.synth.things import Thing
from shared_tmu.synth.varied import painted_thing
from shared_tmu.synth.varied_stage import VariedStage

Array = NDArray[np.float32]
HEIGHT, WIDTH = 256, 192
SCALE = 4.0  # a person's shadows and steps in depth against a hand's


@dataclass(frozen=True)
class DrawnBody:
    """A drawn scene.

    Attributes:
        image: `[H, W, 3]` uint8, RGB.
        body: the posed person in the camera frame, metres.
        camera: the camera that saw it.
        part: joint whose flesh each pixel shows plus one, 0 elsewhere, `[H, W]` uint8.
        canonical: place on the person at rest at each of its pixels, metres, `[H, W, 3]`, zero elsewhere.
        depth: depth there minus that of the pelvis, metres, `[H, W]`, zero elsewhere.
    """

    image: NDArray[np.uint8]
    body: PosedBody
    camera: Camera
    part: NDArray[np.uint8]
    canonical: Array
    depth: Array


def _objects(rng: np.random.Generator, scene: BodyScene, body: PosedBody) -> list[Solid]:
    """Sometimes an object in front of or beside the person, and a surface to stand on."""
    out: list[Solid] = []
    for _ in range(3):
        if rng.random() > 0.22 * scene.difficulty.clutter:
            continue
        vertices, faces = primitives()[rng.integers(4)]
        size = np.exp(rng.uniform(np.log(0.05), np.log(0.28), 3))
        turned = Rotation.random(random_state=rng).apply(vertices * size)
        near = body.joints[rng.integers(22)]
        towards = -near / np.linalg.norm(near)
        place = near + towards * rng.uniform(-0.25, 0.45) + rng.normal(0.0, 0.22, 3)
        if place[2] - np.abs(turned[:, 2]).max() < 0.4:
            continue
        color = rng.beta(1.0, 1.4, 3).astype(np.float32)
        out.append(make_solid((turned + place).astype(np.float32), faces, color))
    return out


def draw_body(scene: BodyScene, width: int = WIDTH, height: int = HEIGHT) -> DrawnBody:
    """Draw a scene.

    Args:
        scene: what to draw; equal scenes give equal pictures.
        width: picture width in pixels.
        height: picture height in pixels; the defaults are SMPLest-X's network input.

    Returns:
        The picture and its labels.

    Raises:
        MissingDependencyError: embreex is not installed.
    """
    body = place_body(scene)
    camera = frame_body(scene, body, width, height)
    shot = (_varied_shot if scene.is_varied else _plain_shot)(scene, body, camera)
    geometry = synth_body()
    labels = surface_labels(shot, geometry.template, geometry.faces, geometry.part_of_vertex)
    part, canonical, depth = labels
    depth[part > 0] -= body.joints[0, 2]
    return DrawnBody(shot.image, body, camera, part, canonical, depth)


def _plain_shot(scene: BodyScene, body: PosedBody, camera: Camera) -> Shot:
    """The scene's photograph without variety."""
    chance = scene.looks()
    looks = Looks(chance.of("light"))
    geometry = synth_body()
    rng = chance.of("clothes")
    surface = Wardrobe(looks, sample_outfit(rng), float(rng.uniform(0.0, 100.0)))
    main = make_solid(body.vertices, geometry.faces, None)
    stage = LitSolids(main, surface, _objects(chance.of("objects"), scene, body), looks, SCALE)
    return photograph_stage(chance, stage, camera, scene.difficulty.clutter, scene.difficulty.degrade)


def _varied_shot(scene: BodyScene, body: PosedBody, camera: Camera) -> Shot:
    """The scene's picture with a photograph-like appearance."""
    chance = scene.looks()
    light = Environment(chance.of("light"))
    rng = chance.of("clothes")
    wardrobe = Wardrobe(light, sample_outfit(rng), float(rng.uniform(0.0, 100.0)))

    def paint(points: Array, face: NDArray[np.int32], bary: Array) -> Paint:
        color, gloss, tilt = wardrobe(face, bary)
        return Paint(color, gloss, tilt, ~tilt.any(1))

    things = [Painted(make_solid(body.vertices, synth_body().faces, None), paint)]
    objects, paints = _objects(chance.of("objects"), scene, body), chance.of("paint")
    for solid in objects:
        axis = np.ptp(solid.vertices, axis=0)
        thing = Thing(solid.vertices, solid.faces, axis / np.linalg.norm(axis), True)
        things.append(painted_thing(paints, thing))
    clutter, ground = scene.difficulty.clutter, None
    rng = chance.of("ground")
    if rng.random() < 0.6 * clutter:
        ground = sample_ground(rng, body.vertices[::20], light.up, SCALE)
    stage = VariedStage(things, light, chance.of("rays"), SCALE)
    depth_m = float(body.joints[0, 2])
    return photograph_varied(chance, stage, camera, clutter, scene.difficulty.degrade, ground, depth_m)
