"""Surroundings in the hand's colours: off they change nothing, on they hide the outline's hue."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from shared_tmu.errors import ConfigError
from shared_tmu.synth import Difficulty, sample_scene
from shared_tmu.synth.alike import ALBEDO, LUMA, Hues, alike_things
from shared_tmu.synth.body.shards import BODY
from shared_tmu.synth.environment import Environment
from shared_tmu.synth.generator import draw, place_hand
from shared_tmu.synth.geometry3d import make_solid
from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.paint import Painted
from shared_tmu.synth.painters import arm_skin, cloth
from shared_tmu.synth.people import add_person
from shared_tmu.synth.second_hand import MIRROR, TWINS, second_hand
from shared_tmu.synth.shards import shard_folder

WILD = Difficulty(variety=1.0)
ALIKE = Difficulty(variety=1.0, alike=1.0)
WILD_FOLDER = "synthhand-1-a395c3c7"  # this and the grays are from the commit before there was `alike`
WILD_BLOCKS = {
    0: [[73, 90, 92, 90], [75, 109, 87, 74], [97, 133, 115, 76], [79, 86, 89, 76]],
    2: [[230, 220, 205, 235], [175, 149, 194, 187], [139, 133, 124, 127], [117, 116, 114, 122]],
}


@pytest.mark.parametrize("index", WILD_BLOCKS)
def test_varied_pictures_that_are_not_alike_are_what_they_were(index):
    image = draw(sample_scene(5, index, WILD)).image
    means = image.reshape(4, 64, 4, 64, 3).mean((1, 3, 4))
    np.testing.assert_allclose(means, WILD_BLOCKS[index], atol=1.5)


def test_shards_that_are_not_alike_keep_their_folders():
    assert shard_folder(Path(), 1, WILD).name == WILD_FOLDER
    assert shard_folder(Path(), 1, ALIKE).name != WILD_FOLDER


def test_alike_is_a_share_of_the_varied_pictures():
    some = [sample_scene(1, i, Difficulty(variety=0.5, alike=0.4)) for i in range(400)]
    varied = [scene for scene in some if scene.is_varied]
    assert np.mean([scene.is_alike for scene in varied]) == pytest.approx(0.4, abs=0.09)
    assert not any(scene.is_alike for scene in some if not scene.is_varied)
    with pytest.raises(ConfigError, match="alike"):
        Difficulty(variety=1.0, alike=1.5)
    with pytest.raises(ConfigError, match="give variety, too"):
        Difficulty(alike=0.5)


@pytest.mark.parametrize("name", ["alike", "other_hand"])
def test_what_only_hands_have_is_refused_for_people(name):
    with pytest.raises(ConfigError, match=f"{name}=0.5 was asked for, but synthbody has no such pictures"):
        shard_folder(Path(), 1, Difficulty(variety=1.0, **{name: 0.5}), BODY)
    assert shard_folder(Path(), 1, WILD, BODY).name.startswith("synthbody-1-")


def outline_chroma(picture):
    """How different in hue (CIELAB a, b) the hand and what is right beside it are."""
    lab = cv2.cvtColor(picture.image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    hand = (picture.part > 0).astype(np.uint8)
    inside = cv2.erode(hand, np.ones((5, 5))) > 0
    outside = (cv2.dilate(hand, np.ones((15, 15))) > 0) & ~(cv2.dilate(hand, np.ones((7, 7))) > 0)
    return np.linalg.norm(np.median(lab[inside], 0)[1:] - np.median(lab[outside], 0)[1:])


def test_alike_pictures_hide_the_outlines_hue_and_keep_the_hand():
    hues = []
    for index in range(6):
        wild, alike = (draw(sample_scene(21, index, how)) for how in (WILD, ALIKE))
        np.testing.assert_array_equal(wild.hand.keypoints, alike.hand.keypoints)
        assert (alike.part > 0).sum() > 0.25 * (wild.part > 0).sum()
        hues.append((outline_chroma(wild), outline_chroma(alike)))
    before, after = np.median(hues, 0)
    assert after < 0.7 * before


def test_hues_move_colours_to_shades_of_one():
    skin = np.array([0.62, 0.38, 0.26], np.float32)
    rng = np.random.default_rng(0)
    colors = rng.uniform(0.02, 0.8, (2000, 3)).astype(np.float32)
    usual = float(np.exp(np.log(colors @ LUMA).mean()))
    levels = []
    for _ in range(60):
        out = Hues(rng, skin)(colors, usual)
        assert (out > 0).all()
        share, wanted = (x / (x @ LUMA)[..., None] for x in (out, skin))
        spread = np.linalg.norm(colors / (colors @ LUMA)[:, None], axis=1).std()
        assert np.linalg.norm(share, axis=1).std() < 0.35 * spread
        assert share.mean(0)[0] > share.mean(0)[2]  # warm or gray, as skin is, never blue
        assert np.abs(share.mean(0) - wanted).max() < 0.75
        levels.append(np.exp(np.log(out @ LUMA).mean()) / (skin @ LUMA))
    assert 0.5 < np.median(levels) < 1.2
    # brighter things stay brighter
    ramp = np.linspace(0.05, 0.9, 20, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    assert (np.diff(Hues(rng, skin)(ramp, 0.3) @ LUMA) > 0).all()


def test_things_change_their_colours_and_skin_keeps_its_own():
    along = np.array([1.0, 0.0, 0.0], np.float32)
    tone = np.array([0.3, 0.16, 0.1], np.float32)
    hand = synth_hand()
    solid = make_solid(hand.template, hand.faces, None)
    points = hand.template[:50]
    face, bary = np.arange(50, dtype=np.int32), np.full((50, 3), 1 / 3, np.float32)
    skin = Painted(solid, arm_skin(np.random.default_rng(1), tone))
    sleeves = [Painted(solid, cloth(np.random.default_rng(i), along)) for i in range(40)]
    made = alike_things(np.random.default_rng(2), [skin, *sleeves], tone)
    np.testing.assert_array_equal(
        made[0].painter(points, face, bary).albedo, skin.painter(points, face, bary).albedo
    )
    apart = [
        np.abs(one.painter(points, face, bary).albedo - old.painter(points, face, bary).albedo).max()
        for one, old in zip(made[1:], sleeves, strict=True)
    ]
    assert 0.5 < np.mean(np.array(apart) > 0) < 0.95
    usual = np.full((1, 3), ALBEDO, np.float32)
    levels = [(Hues(np.random.default_rng(i), tone)(usual, ALBEDO) @ LUMA)[0] for i in range(80)]
    assert np.median(levels) == pytest.approx(float(tone @ LUMA) * np.exp(-0.25), rel=0.25)


def test_a_second_hand_may_be_the_mirror_image_of_the_first():
    twins = 0
    for number in range(30):
        scene = sample_scene(2, number, WILD)
        hand = place_hand(scene)
        other = second_hand(np.random.default_rng(number), hand, scene.root, scene.betas, scene.fingers)
        chosen = np.random.default_rng(number).random() < TWINS
        if other is None or not chosen:
            continue
        twins += 1
        mirrored = hand.vertices * MIRROR
        (a, b) = (points - points.mean(0) for points in (mirrored, other.vertices))
        turn, rest = Rotation.align_vectors(b, a)
        assert rest / np.sqrt(len(a)) < 5e-4  # the same hand but for where it is
        assert turn.magnitude() < 1.3
    assert twins > 4


def test_a_near_person_is_about_the_middle():
    drawn, side = np.zeros((64, 64)), 64
    for number in range(12):
        rng = np.random.default_rng(number)
        light = Environment(rng)
        canvas = np.full((side, side, 3), -1.0, np.float32)
        out = add_person(rng, canvas, light, 160.0, near=True)
        drawn += (out >= 0).all(2)
    assert drawn[24:40, 24:40].mean() > 1.5 * drawn[[0, -1]].mean()
