"""Hands of other people's models in SynthHand's pictures: the right way round, and near their labels."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from shared_tmu.errors import ConfigError
from shared_tmu.synth import Difficulty, sample_scene, write_eval_set
from shared_tmu.synth.generator import draw, place_hand, shown_hand
from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.other_hands import FOLDER, HELD_OUT, LARGEST, TRAINED, OtherShape, other_hand
from shared_tmu.synth.poses import posture_pose
from shared_tmu.synth.scene import UPRIGHT_BACK
from shared_tmu.synth.shards import make_record, shard_folder

NAMES = (TRAINED, HELD_OUT)
CLEAN = Difficulty(clutter=0.0, degrade=0.0, other_hand=1.0)


def showing(name, index, difficulty=CLEAN):
    scene = sample_scene(41, index, difficulty)
    if name == TRAINED:
        return scene
    shown = OtherShape(name)
    return replace(scene, other=shown, betas=shown.fitted_betas())


def unit_normals(vertices):
    a, b, c = (vertices[synth_hand().faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_surface_is_right_handed_and_not_inside_out(name):
    own, template = synth_hand().template, other_hand(name).geometry.template
    agree = np.einsum("fc,fc->f", unit_normals(own), unit_normals(template))
    assert (agree > 0).all()
    assert np.percentile(agree, 5) > 0.75
    moved = np.linalg.norm(template - own, axis=1)
    assert 0.002 < moved.mean() < 0.010  # another hand, but in the same place
    edges = own[synth_hand().faces[:, 0]] - own[synth_hand().faces[:, 1]]
    others = template[synth_hand().faces[:, 0]] - template[synth_hand().faces[:, 1]]
    assert np.percentile(np.linalg.norm(others, axis=1) / np.linalg.norm(edges, axis=1), 1) > 0.4


@pytest.mark.parametrize(("name", "mean_mm", "p95_mm"), [(TRAINED, 2.4, 5.2), (HELD_OUT, 1.3, 2.8)])
def test_labels_are_a_few_millimetres_from_the_hand_that_is_shown(name, mean_mm, p95_mm):
    points, vertices = [], []
    for index in range(40):
        scene = showing(name, index)
        label = place_hand(scene)
        shown = shown_hand(scene, label)
        points.append(1e3 * np.linalg.norm(label.keypoints - shown.keypoints, axis=1))
        vertices.append(1e3 * np.linalg.norm(label.vertices - shown.vertices, axis=1))
        np.testing.assert_allclose(label.keypoints.mean(0), shown.keypoints.mean(0), atol=1e-5)
    assert 0.5 < np.mean(points) < mean_mm
    assert np.percentile(points, 95) < p95_mm
    assert np.mean(vertices) < 3.0


@pytest.mark.parametrize("name", NAMES)
def test_labelled_points_lie_on_the_drawn_hand(name):
    inside = []
    for index in range(8):
        picture = draw(showing(name, index))
        near = cv2.dilate((picture.part > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
        x, y = np.round(picture.camera.project(picture.hand.keypoints)).astype(int).T
        inside.append(near[y.clip(0, 255), x.clip(0, 255)])
    assert np.mean(inside) > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_every_finger_is_drawn_where_its_joints_are_labelled(name):
    """A mirrored hand, another order of fingers or a turned thumb puts other parts there."""
    from scipy.spatial.transform import Rotation

    root = Rotation.from_matrix(UPRIGHT_BACK).as_rotvec().astype(np.float32)
    fingers = posture_pose("spread").astype(np.float32)
    picture = draw(replace(showing(name, 3), root=root, fingers=fingers))
    points = picture.camera.project(picture.hand.keypoints)
    for finger, first in enumerate((13, 1, 4, 10, 7)):  # thumb to little finger
        for bone in (1, 2):
            at = points[1 + 4 * finger + bone : 3 + 4 * finger + bone].mean(0)
            x, y = np.round(at).astype(int)
            assert picture.part[y, x] == first + bone + 1


def test_a_shape_of_the_other_hand_changes_its_label_alike():
    hand, other = synth_hand(), other_hand(TRAINED)
    root, fingers = np.zeros(3, np.float32), np.zeros((15, 3), np.float32)
    for size in (-LARGEST, LARGEST):
        shape = OtherShape(TRAINED, (size,))
        label = hand.pose(root, fingers, shape.fitted_betas())
        shown = other.pose(root, fingers, shape.shape)
        lengths = [np.linalg.norm(p.keypoints[12] - p.keypoints[0]) for p in (label, shown)]
        assert lengths[0] == pytest.approx(lengths[1], rel=0.03)
    largest, smallest = (other.pose(root, fingers, (size,)).keypoints for size in (LARGEST, -LARGEST))
    assert abs(np.ptp(largest, axis=0).max() / np.ptp(smallest, axis=0).max() - 1.0) > 0.1


def test_a_share_of_scenes_shows_it_and_the_others_stay_as_they_were():
    mixed = Difficulty(other_hand=0.4)
    scenes = [sample_scene(3, index, mixed) for index in range(400)]
    chosen = [scene.other is not None for scene in scenes]
    assert 0.33 < np.mean(chosen) < 0.47
    assert {scene.other.name for scene in scenes if scene.other} == {TRAINED}
    assert sample_scene(3, 0).other is None
    index = chosen.index(False)
    np.testing.assert_array_equal(draw(scenes[index]).image, draw(sample_scene(3, index)).image)
    index = chosen.index(True)
    plain = sample_scene(3, index)
    assert (scenes[index].fingers == plain.fingers).all()
    assert (scenes[index].root == plain.root).all()
    assert (draw(scenes[index]).image != draw(plain).image).any()
    with pytest.raises(ConfigError, match="other_hand"):
        Difficulty(other_hand=1.5)


def test_only_sets_with_it_lie_in_a_folder_of_their_own(tmp_path):
    names = [shard_folder(tmp_path, 1, Difficulty(other_hand=share)).name for share in (0.0, 0.2, 0.4)]
    assert names[0] == shard_folder(tmp_path, 1, Difficulty()).name == "synthhand-1-b824cf88"
    assert len(set(names)) == 3


def test_training_labels_are_those_of_the_fitted_synthhand():
    _, labels = make_record(4, 2, CLEAN)
    scene = sample_scene(4, 2, CLEAN)
    np.testing.assert_array_equal(labels["betas"], scene.other.fitted_betas())
    assert np.abs(labels["betas"]).max() < 3.5
    posed = synth_hand().pose(scene.root, scene.fingers, labels["betas"]).keypoints
    found = labels["keypoints_3d"] - labels["keypoints_3d"].mean(0)
    np.testing.assert_allclose(found, posed - posed.mean(0), atol=1e-6)


def test_the_truth_of_a_set_with_another_hand_is_that_hand(tmp_path):
    write_eval_set(tmp_path, count=1, seed=12, version=2, other=HELD_OUT)
    scene = replace(sample_scene(12, 0), other=OtherShape(HELD_OUT), betas=other_hand(HELD_OUT).betas)
    label = place_hand(scene)
    shown = shown_hand(scene, label)
    for name, true in (("xyz", shown.keypoints), ("verts", shown.vertices)):
        read = json.loads((tmp_path / f"evaluation_{name}.json").read_text())[0]
        np.testing.assert_allclose(read, true, atol=1e-6)
    mano = json.loads((tmp_path / "evaluation_mano.json").read_text())[0][0]
    np.testing.assert_allclose(mano[48:58], other_hand(HELD_OUT).betas, atol=1e-6)
    assert np.abs(shown.vertices - label.vertices).max() > 1e-3


def test_files_are_small_and_the_licence_that_asks_for_it_is_beside_its_file():
    assert all((FOLDER / f"{name}.npz").stat().st_size < 150_000 for name in NAMES)
    assert "Copyright (c) 2019 Amazon" in (FOLDER / "webxr_LICENSE.md").read_text(encoding="utf-8")
