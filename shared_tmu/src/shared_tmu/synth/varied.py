"""Photograph-like pictures of hands: with a second hand, objects, a table, and a background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.alike import alike_background, alike_things
from shared_tmu.synth.environment import Environment
from shared_tmu.synth.geometry3d import Solid, forearm, make_solid
from shared_tmu.synth.ground import sample_ground
from shared_tmu.synth.hand import PosedHand, synth_hand
from shared_tmu.synth.hand_look import hand_look
from shared_tmu.synth.jewels import ring, wristband
from shared_tmu.synth.other_hands import geometry_of
from shared_tmu.synth.paint import Painted, Painter
from shared_tmu.synth.painters import arm_skin, cloth, material
from shared_tmu.synth.photograph import photograph_varied
from shared_tmu.synth.scene import Scene
from shared_tmu.synth.second_hand import second_hand
from shared_tmu.synth.shading import Camera, Shot
from shared_tmu.synth.skin import sample_tone
from shared_tmu.synth.things import Thing, held_thing, loose_thing
from shared_tmu.synth.varied_stage import VariedStage

Array = NDArray[np.float32]
Faces = NDArray[np.int32]


def photograph_hand(scene: Scene, hand: PosedHand, camera: Camera) -> Shot:
    """A photograph of the scene's hand, which is solid 0 of the shot.

    Raises:
        MissingDependencyError: embreex is not installed.
    """
    chance = scene.looks()
    light = Environment(chance.of("light"))
    clutter = scene.difficulty.clutter
    skin = chance.of("skin")
    gloved = skin.random() < 0.07 * clutter
    main = make_solid(hand.vertices, synth_hand().faces, None)
    things = [Painted(main, hand_look(skin, light.tone, hand.vertices, gloved))]
    dress = chance.of("sleeves")
    sleeve = _Sleeve(dress)
    arm = forearm(geometry_of(scene.other), hand, scene.root, scene.wrist_bend)
    things += _arm(dress, *arm, light.tone, sleeve)
    things += _jewels(chance.of("jewels"), hand, arm, sleeve, clutter)
    resting = [hand.vertices]
    rng = chance.of("second hand")
    alike = scene.is_alike
    if rng.random() < (0.65 if alike else 0.33) * clutter and (
        other := second_hand(rng, hand, scene.root, scene.betas, scene.fingers if alike else None)
    ):
        tone = light.tone if rng.random() < (0.97 if alike else 0.85) else sample_tone(rng)
        painter = hand_look(rng, tone, other.vertices, gloved)
        things.append(Painted(make_solid(other.vertices, other.faces, None), painter))
        things += _arm(rng, other.arm, other.arm_faces, other.arm_ring, tone, sleeve)
        resting.append(other.vertices)
    things += _objects(chance.of("objects"), hand, clutter)
    ground = None
    rng = chance.of("ground")
    if rng.random() < 0.42 * clutter:
        ground = sample_ground(rng, np.concatenate(resting), light.up)
    depth_m, change = float(hand.vertices[:, 2].mean()), None
    if alike:
        rng = chance.of("alike")
        things[1:] = alike_things(rng, things[1:], light.tone)
        change = alike_background(rng, light, camera.focal_px / depth_m, resting=ground is not None)
    stage, degrade = VariedStage(things, light, chance.of("rays")), scene.difficulty.degrade
    return photograph_varied(chance, stage, camera, clutter, degrade, ground, depth_m, change)


def _objects(rng: np.random.Generator, hand: PosedHand, clutter: float) -> list[Painted]:
    """Objects that the hand holds, and objects in front of it."""
    made: list[Painted] = []
    if rng.random() < 0.40 * clutter:
        made.append(painted_thing(rng, held_thing(rng, hand)))
    for _ in range(2):
        if rng.random() < 0.10 * clutter:
            made.append(painted_thing(rng, loose_thing(rng, hand, held=False)))
    return made


def _jewels(
    rng: np.random.Generator,
    hand: PosedHand,
    arm: tuple[Array, Faces, NDArray[np.int64]],
    sleeve: _Sleeve,
    clutter: float,
) -> list[Painted]:
    """Rings and what is worn round a bare wrist."""
    made: list[Thing] = []
    if rng.random() < 0.12 * clutter:
        made.append(ring(rng, hand))
    if rng.random() < 0.16 * clutter and sleeve.cuff > 4 and not sleeve.missing:
        made += wristband(rng, *arm, hand.bone_rotmats[0][:, 1])
    return [painted_thing(rng, thing) for thing in made]


def painted_thing(rng: np.random.Generator, thing: Thing) -> Painted:
    """An object of any material."""
    middle = thing.vertices.mean(0)
    return Painted(make_solid(thing.vertices, thing.faces, None), material(rng, thing.axis, middle))


class _Sleeve:
    """The appearance of a person's sleeves: both arms have the same."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.cuff = int(rng.integers(0, 9)) if rng.random() < 0.55 else 99  # ring at which it begins
        self.width = float(rng.uniform(1.06, 1.4))
        self.seed = int(rng.integers(1 << 31))
        self.missing = rng.random() < 0.03
        self.longer_m = float(rng.uniform(0.1, 0.4))  # than the forearm that is modelled

    def painter(self, along: Array) -> Painter:
        """The fabric along an arm's direction, `[3]`."""
        return cloth(np.random.default_rng(self.seed), along)


def _arm(
    rng: np.random.Generator,
    vertices: Array,
    faces: Faces,
    ring: NDArray[np.int64],
    tone: Array,
    sleeve: _Sleeve,
) -> list[Painted]:
    """A forearm, bare, in a sleeve or partly so; very seldom none."""
    out: list[Painted] = []
    if sleeve.missing:
        return out
    count = len(synth_hand().rim)
    bare, covered = faces[ring < sleeve.cuff], faces[ring >= sleeve.cuff]
    axis = vertices.reshape(-1, count, 3).mean(1)
    along = axis[-1] - axis[0]
    along = (along / np.linalg.norm(along)).astype(np.float32)
    if axis[-1, 2] + sleeve.longer_m * along[2] > 0.15:  # not into the lens
        vertices = vertices.copy()
        vertices[-count:] += sleeve.longer_m * along
        axis[-1] += sleeve.longer_m * along
    if len(bare):
        out.append(Painted(make_solid(vertices, bare, None), arm_skin(rng, tone)))
    if len(covered):
        middle = axis.repeat(count, 0)
        wide = (middle + (vertices - middle) * sleeve.width).astype(np.float32)
        out.append(Painted(_rumpled(rng, wide, covered), sleeve.painter(along)))
    return out


def _rumpled(rng: np.random.Generator, vertices: Array, faces: Faces) -> Solid:
    """A sleeve whose width varies a little."""
    noise = rng.normal(0.0, 0.0012, vertices.shape).astype(np.float32)
    return make_solid(vertices + noise, faces, None)
