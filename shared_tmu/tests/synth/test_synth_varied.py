"""Varied pictures: repeatable, rightly labelled, physically sane; those without variety stay as they were."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from shared_tmu.pictures.render import RayScene, pixel_directions
from shared_tmu.synth import Difficulty, sample_scene, write_eval_set
from shared_tmu.synth.backdrop import _ramp
from shared_tmu.synth.body import sample_body_scene
from shared_tmu.synth.body.generator import draw_body
from shared_tmu.synth.body.shards import BODY
from shared_tmu.synth.chance import ONE_GENERATOR
from shared_tmu.synth.environment import Environment, _sphere, basis
from shared_tmu.synth.generator import draw, place_hand
from shared_tmu.synth.hand import synth_hand, vertex_normals
from shared_tmu.synth.people import person
from shared_tmu.synth.poses import BUSY_POSTURES, posture_pose
from shared_tmu.synth.scene import falls_to
from shared_tmu.synth.second_hand import LARGEST_COVER, _covered, second_hand
from shared_tmu.synth.sensor import _noisy, take_picture
from shared_tmu.synth.shards import LEFT, make_record, shard_folder
from shared_tmu.synth.skin_detail import skin_detail
from shared_tmu.synth.textures import KINDS, SIDE, material_map
from shared_tmu.synth.things import _bar, _grip

WILD = Difficulty(variety=1.0)
# Mean grays of 4x4 blocks of two hands and a person, from the commit before there was variety.
FOLDERS = ("synthhand-1-b824cf88", "synthbody-2-b5b2de0a")
BLOCKS = [
    [[193, 189, 171, 157], [159, 167, 147, 158], [152, 134, 160, 159], [184, 183, 165, 159]],
    [[158, 167, 174, 181], [162, 154, 159, 184], [166, 150, 142, 187], [169, 176, 136, 178]],
    [[143, 148, 149, 139], [151, 152, 168, 141], [150, 156, 150, 141], [147, 152, 156, 152]],
]  # fmt: skip


def blocks(image):
    """Mean gray of each of 4x4 blocks."""
    height, width = image.shape[:2]
    return image.reshape(4, height // 4, 4, width // 4, 3).mean((1, 3, 4))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_varied_pictures_repeat(index):
    first, second = draw(sample_scene(5, index, WILD)), draw(sample_scene(5, index, WILD))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.part, second.part)
    assert (first.image != draw(sample_scene(5, index)).image).mean() > 0.5


@pytest.mark.parametrize("index", range(8))
def test_only_what_is_seen_of_the_hand_is_labelled(index):
    scene = sample_scene(8, index, WILD)
    picture = draw(scene, 192, 256)
    camera = picture.camera
    rays = pixel_directions(camera.focal_px, camera.centre_px, 192, 256).reshape(-1, 3).astype(np.float32)
    alone = RayScene(picture.hand.vertices, synth_hand().faces)
    face, _, depth = alone.cast(np.zeros_like(rays), rays)
    labelled = picture.part.ravel() > 0
    assert not (labelled & (face < 0)).any()
    assert labelled.sum() > 0.25 * (face >= 0).sum()
    own = picture.depth.ravel()[labelled] + picture.hand.keypoints[0, 2]
    np.testing.assert_allclose(own, depth[labelled], atol=1e-4)


def test_labels_of_varied_records_fit_the_network_input():
    data, labels = make_record(4, 2, WILD)
    assert len(data) > 1000
    picture = draw(sample_scene(4, 2, WILD), 192, 256)
    points = picture.camera.project(picture.hand.keypoints)
    np.testing.assert_allclose((labels["keypoints_2d"] + 0.5) * 256 - [LEFT, 0], points, atol=1e-2)
    np.testing.assert_array_equal(labels["part"], picture.part[::4, ::4])


@pytest.mark.parametrize("index", range(2))
def test_varied_people_are_labelled_where_they_are(index):
    scene = sample_body_scene(8, index, WILD)
    first, second = draw_body(scene), draw_body(scene)
    np.testing.assert_array_equal(first.image, second.image)
    rows, columns = np.nonzero(first.part)
    points = first.camera.project(first.body.vertices)
    assert len(rows) > 1000
    assert rows.min() >= points[:, 1].min() - 1
    assert columns.max() <= points[:, 0].max() + 1
    np.testing.assert_array_equal(first.part > 0, np.abs(first.canonical).max(2) > 0)


def test_variety_is_the_share_of_varied_pictures():
    for share in (0.0, 0.3, 1.0):
        hits = np.mean([falls_to((1, i, 1), share) for i in range(600)])
        assert hits == pytest.approx(share, abs=0.06)
    mixed = Difficulty(variety=0.5)
    plain = [i for i in range(20) if not sample_scene(1, i, mixed).is_varied]
    assert 0 < len(plain) < 20
    drawn = draw(sample_scene(1, plain[0], mixed))
    np.testing.assert_array_equal(drawn.image, draw(sample_scene(1, plain[0])).image)


def test_shards_without_variety_keep_their_folders():
    old = (
        shard_folder(Path(), 1, Difficulty()).name,
        shard_folder(Path(), 2, Difficulty(90, 0.4, 0.4), BODY).name,
    )
    assert old == FOLDERS
    assert shard_folder(Path(), 1, WILD).name != old[0]


def test_pictures_without_variety_are_what_they_were():
    """Up to what other processors round: a change of the stream of chance moves blocks by far more."""
    scenes = [sample_scene(5, i, draws=ONE_GENERATOR) for i in (0, 3)]
    person = sample_body_scene(5, 0, draws=ONE_GENERATOR)
    drawn = [*(draw(scene).image for scene in scenes), draw_body(person).image]
    for image, want in zip(drawn, BLOCKS, strict=True):
        np.testing.assert_allclose(blocks(image), want, atol=1.5)


def test_uniform_light_is_the_same_from_every_side():
    _, solid, harmonics = _sphere()
    assert solid.sum() == pytest.approx(4 * np.pi, rel=0.01)
    light = Environment(np.random.default_rng(0))
    ones = np.ones((len(solid), 3), np.float32)
    band = np.repeat([np.pi, 2 * np.pi / 3, np.pi / 4], [1, 3, 5])[:, None] / np.pi
    light.harmonics = band * (harmonics.T @ (ones * solid[:, None]))
    normals = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_allclose(light.irradiance(normals), 1.0, atol=0.03)
    gram = harmonics.T @ (harmonics * solid[:, None])
    np.testing.assert_allclose(gram, np.eye(9), atol=0.03)
    assert basis(normals).shape == (50, 9)


def test_light_from_one_side_lights_that_side():
    light = Environment(np.random.default_rng(3))
    directions, solid, harmonics = _sphere()
    lamp = (directions[:, 1:2] > 0.8) * np.ones((1, 3), np.float32)
    band = np.repeat([np.pi, 2 * np.pi / 3, np.pi / 4], [1, 3, 5])[:, None] / np.pi
    light.harmonics, light.map = band * (harmonics.T @ (lamp * solid[:, None])), lamp
    above, below = light.up[None], -light.up[None]
    assert light.irradiance(above).min() > 10 * light.irradiance(below).max()
    assert light.reflected(above).max() == 1.0
    assert light.reflected(below).max() == 0.0


def test_a_second_hand_is_beside_the_first_and_not_in_it():
    scenes, made = [sample_scene(2, i, WILD) for i in range(25)], 0
    for number, scene in enumerate(scenes):
        hand = place_hand(scene)
        other = second_hand(np.random.default_rng(number), hand, scene.root, scene.betas)
        if other is None:
            continue
        made += 1
        normals = vertex_normals(hand.vertices, synth_hand().faces)
        distance, nearest = cKDTree(hand.vertices).query(other.vertices)
        depth = np.einsum("kc,kc->k", other.vertices - hand.vertices[nearest], normals[nearest])
        assert ((depth < -0.004) & (distance < 0.03)).mean() < 0.05
        assert np.linalg.norm(other.vertices.mean(0) - hand.vertices.mean(0)) < 0.45
        assert _covered(hand, other) <= LARGEST_COVER
    assert made > 12


def test_a_bar_goes_through_the_tunnel_of_bent_fingers():
    hand = synth_hand().pose(
        np.zeros(3, np.float32), posture_pose("fist").astype(np.float32), np.zeros(10, np.float32)
    )
    loose = synth_hand().pose(
        np.zeros(3, np.float32), posture_pose("cylinder").astype(np.float32), np.zeros(10, np.float32)
    )
    middle, axis, radius = _grip(loose.keypoints)
    assert abs(axis[2]) > 0.85  # across the palm
    assert 0.008 < radius < 0.04
    assert _grip(hand.keypoints)[2] < radius
    bar = _bar(np.random.default_rng(0), loose.keypoints)
    assert bar is not None
    assert abs(bar.axis @ axis) > 0.95
    assert middle[1] < loose.keypoints[9, 1]  # on the palm's side of the knuckles


def test_busy_postures_stay_within_a_fist_and_a_flat_hand():
    for name in BUSY_POSTURES:
        pose = posture_pose(name, BUSY_POSTURES)
        assert pose.shape == (15, 3)
        assert np.linalg.norm(pose, axis=1).max() < np.radians(115)
    typing, fist = (posture_pose(n, t) for n, t in (("typing", BUSY_POSTURES), ("bar", BUSY_POSTURES)))
    assert np.linalg.norm(typing[:12]) < np.linalg.norm(fist[:12])


def test_relief_turns_normals_and_none_leaves_them():
    hand, detail = synth_hand(), skin_detail()
    corners = hand.template[hand.faces]
    edges = (corners[:, 1:] - corners[:, :1]).astype(np.float32)
    face = np.arange(0, len(hand.faces), 7, dtype=np.int32)
    cell = detail.cells(np.full((len(face), 3), 1 / 3, np.float32))
    strength = np.ones(3, np.float32)
    assert (detail.tilt(face, cell, edges, 0 * strength) == 0).all()
    tilt = detail.tilt(face, cell, edges, strength)
    normals = np.cross(edges[face, 0], edges[face, 1])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    assert 0.01 < np.abs(tilt).mean() < 0.4
    assert np.abs(np.einsum("kc,kc->k", tilt, normals)).max() < 0.05  # along the surface


def test_clean_cameras_add_nothing_and_bad_ones_do():
    ramp = np.linspace(0.05, 0.6, 192, dtype=np.float32)
    light = np.broadcast_to(ramp[None, :, None], (256, 192, 3)).copy()
    clean = take_picture(np.random.default_rng(0), light, 0.0)
    assert clean.shape == (256, 192, 3)
    assert (np.diff(clean[100, :, 1].astype(int)) >= 0).all()
    noisy = [take_picture(np.random.default_rng(i), light, 1.0).astype(int) for i in range(12)]
    rough = [np.abs(np.diff(image, axis=0)).mean() for image in noisy]
    assert np.abs(np.diff(clean.astype(int), axis=0)).mean() < 0.05
    assert max(rough) > 2.0


def test_light_over_backgrounds_is_uneven_and_never_negative():
    """Cubic interpolation swings below zero beside peaks; noise takes a root of light."""
    for seed in (6, 26, 190):
        ramp = _ramp(np.random.default_rng(seed), 256, 192, 0.5)
        assert ramp.min() == 0.0 < ramp.std()
        light = np.repeat(ramp, 3, axis=2)
        with np.errstate(all="raise"):
            for camera in range(12):
                take_picture(np.random.default_rng(camera), light, 1.0)


def test_noise_bears_what_interpolation_makes_of_dark_pixels():
    dark = np.full((64, 64, 3), -0.02, np.float32)
    with np.errstate(all="raise"):
        noisy = [_noisy(np.random.default_rng(seed), dark, 1.0) for seed in range(8)]
    assert all(np.isfinite(image).all() for image in noisy)


@pytest.mark.parametrize("kind", list(KINDS))
def test_maps_have_contrast_and_repeat(kind):
    gray = material_map(kind, 1)
    assert gray.shape == (SIDE, SIDE)
    assert gray.std() > 12
    material_map.cache_clear()
    np.testing.assert_array_equal(gray, material_map(kind, 1))


def test_people_for_backgrounds_have_skin_and_clothes():
    piece = person(1)
    assert 1000 < len(piece.rows) == len(piece.own) <= 192 * 192
    bare = piece.skin.astype(float).max(1) > 0.3
    assert 0.05 < bare.mean() < 1.0
    np.testing.assert_allclose(np.linalg.norm(piece.normals.astype(float), axis=1), 1.0, atol=0.01)


def test_varied_eval_set_is_not_taken_for_the_plain_one(tmp_path):
    write_eval_set(tmp_path, count=2, seed=12)
    picture = tmp_path / "evaluation" / "rgb" / "00000000.jpg"
    plain = picture.read_bytes()
    write_eval_set(tmp_path, count=2, seed=12, variety=1.0)
    varied = picture.read_bytes()
    assert varied != plain
    write_eval_set(tmp_path, count=2, seed=12)
    assert picture.read_bytes() == plain
