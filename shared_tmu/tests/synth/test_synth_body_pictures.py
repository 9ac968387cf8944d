"""Pictures of SynthBody: the same seed gives the same picture, and labels say what the picture shows."""

import json

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_tmu.body_models.smplx_model import KEYPOINTS, SYNTHBODY, load_smplx
from shared_tmu.datasets.body_parts import parts_by_weight
from shared_tmu.datasets.ehf import read_ehf_layout
from shared_tmu.synth.body import sample_body_scene, write_body_eval_set
from shared_tmu.synth.body.collisions import touches_itself
from shared_tmu.synth.body.generator import draw_body
from shared_tmu.synth.body.model import synth_body
from shared_tmu.synth.body.placing import frame_body, place_body
from shared_tmu.synth.body.poses import (
    _HIGH,
    _LOW,
    _MIRROR,
    _MIRROR_SIGN,
    MIRRORED_TURN,
    POSTURES,
    angles_to_pose,
    posture_pose,
    sample_angles,
)
from shared_tmu.synth.body.shards import BODY, CANONICAL_SCALE_M, DEPTH_SCALE_M, make_body_record
from shared_tmu.synth.chance import ONE_GENERATOR
from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import shard_folder

PLAIN = Difficulty(clutter=0.0, degrade=0.0)


@pytest.fixture(scope="module")
def layer():
    smplx = pytest.importorskip("smplx")
    return smplx.SMPLX(str(SYNTHBODY), ext="npz", use_pca=False, flat_hand_mean=True, use_face_contour=True)


@pytest.mark.parametrize("index", range(4))
def test_numpy_body_equals_smplx(layer, index):
    scene = sample_body_scene(31, index)
    pose = scene.pose
    inputs = {
        "global_orient": pose.root, "body_pose": pose.body, "left_hand_pose": pose.left_hand,
        "right_hand_pose": pose.right_hand, "jaw_pose": pose.jaw, "betas": scene.betas,
        "expression": scene.expression,
    }  # fmt: skip
    with torch.no_grad():
        truth = layer(**{key: torch.tensor(value).reshape(1, -1) for key, value in inputs.items()})
    ours = synth_body().pose(pose, scene.betas, scene.expression)
    np.testing.assert_allclose(ours.vertices, truth.vertices[0].numpy(), atol=5e-6)
    np.testing.assert_allclose(ours.keypoints, truth.joints[0, list(KEYPOINTS)].numpy(), atol=5e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_angles_stay_within_the_limits_of_joints(seed):
    angles = sample_angles(np.random.default_rng(seed))
    assert (angles >= _LOW).all()
    assert (angles <= _HIGH).all()
    np.testing.assert_array_equal(angles, sample_angles(np.random.default_rng(seed)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_mirrored_angles_give_the_mirrored_pose(seed):
    from shared_tmu.synth.body.anatomy import SWAP

    angles = sample_angles(np.random.default_rng(seed))
    pose, _ = angles_to_pose(angles)
    other, _ = angles_to_pose((angles * _MIRROR_SIGN)[_MIRROR])
    np.testing.assert_allclose(other, (pose * MIRRORED_TURN)[SWAP[1:22] - 1], atol=1e-9)


def test_postures_are_what_they_are_called():
    def joints(name: str) -> dict[str, np.ndarray]:
        from shared_tmu.synth.body.anatomy import INDEX

        scene = sample_body_scene(0, 0)
        body, _ = posture_pose(name)
        zero = np.zeros(3, np.float32)
        pose = type(scene.pose)(zero, body.astype(np.float32), *synth_body().mean_hands, zero)
        posed = synth_body().pose(pose, np.zeros(10, np.float32), np.zeros(10, np.float32))
        return {key: posed.joints[i] for key, i in INDEX.items()}

    up, sit, wave, crouch = (joints(n) for n in ("arms_up", "sitting", "waving", "crouching"))
    assert min(up["left_wrist"][1], up["right_wrist"][1]) > up["head"][1] + 0.2
    assert sit["left_knee"][2] > sit["left_hip"][2] + 0.3
    assert abs(sit["left_knee"][1] - sit["left_hip"][1]) < 0.1
    assert sit["left_ankle"][1] < sit["left_knee"][1] - 0.3
    assert wave["right_wrist"][1] > wave["right_shoulder"][1] + 0.1
    assert wave["left_wrist"][1] < wave["left_hip"][1] + 0.1
    assert crouch["pelvis"][1] - crouch["left_ankle"][1] < 0.45
    assert len(POSTURES) >= 25


def test_limbs_do_not_go_through_each_other():
    for name in (
        "standing",
        "walking",
        "sitting",
        "arms_up",
        "crouching",
        "waving",
        "hands_on_hips",
        "t_pose",
    ):
        assert not touches_itself(posture_pose(name)[0]), name
    arm_through_belly = posture_pose("standing")[0].copy()
    arm_through_belly[17] = np.radians([0, -140, 0])  # left elbow
    arm_through_belly[15] = np.radians([0, 0, -95])  # left shoulder
    assert touches_itself(arm_through_belly)
    scenes = [sample_body_scene(3, i) for i in range(60)]
    assert sum(touches_itself(scene.pose.body.astype(float)) for scene in scenes) <= 1


@pytest.mark.parametrize("index", [0, 1])
def test_equal_scenes_give_equal_pictures(index):
    first, second = draw_body(sample_body_scene(5, index)), draw_body(sample_body_scene(5, index))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.part, second.part)
    other = draw_body(sample_body_scene(6, index))
    assert (first.image != other.image).mean() > 0.5


@pytest.mark.parametrize("index", range(4))
def test_labels_agree_with_the_camera(index):
    picture = draw_body(sample_body_scene(8, index, PLAIN))
    assert picture.image.shape == (256, 192, 3)
    rows, columns = np.nonzero(picture.part)
    assert len(rows) > 1000
    points = picture.camera.project(picture.body.vertices)
    assert rows.min() >= points[:, 1].min() - 1
    assert rows.max() <= points[:, 1].max() + 1
    assert columns.min() >= points[:, 0].min() - 1
    assert columns.max() <= points[:, 0].max() + 1
    depth = picture.depth[rows, columns] + picture.body.joints[0, 2]
    assert depth.min() >= picture.body.vertices[:, 2].min() - 1e-3
    assert depth.max() <= picture.body.vertices[:, 2].max() + 1e-3
    assert np.abs(picture.canonical).max() < CANONICAL_SCALE_M
    assert (picture.canonical[picture.part == 0] == 0).all()
    # a pixel's place at rest belongs to the vertex that is drawn there
    take = np.linspace(0, len(rows) - 1, 40).astype(int)
    places = picture.canonical[rows[take], columns[take]]
    nearest = np.linalg.norm(synth_body().template[None] - places[:, None], axis=-1).argmin(1)
    seen = picture.camera.project(picture.body.vertices[nearest])
    gap = np.linalg.norm(seen - np.stack([columns[take], rows[take]], axis=1), axis=1)
    assert np.median(gap) < 4


def test_person_fills_the_box_that_the_scene_asks_for():
    for index in range(6):
        scene = sample_body_scene(9, index)
        body = place_body(scene)
        points = frame_body(scene, body, 192, 256).project(body.vertices)
        if scene.upper_share == 1.0:
            extent = np.ptp(points, axis=0)
            assert max(extent[1], extent[0] * 4 / 3) == pytest.approx(256 * scene.fill, rel=1e-3)
            middle = (points.max(0) + points.min(0)) / 2 - [96, 128]
            np.testing.assert_allclose(middle, 256 * scene.centre_shift, atol=0.05)
        assert body.vertices[:, 2].min() > 0.49


def test_records_hold_what_training_needs():
    data, labels = make_body_record(4, 2, Difficulty())
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    picture = draw_body(sample_body_scene(4, 2))
    assert image.shape == (256, 192, 3)
    assert np.abs(image.astype(int) - picture.image[..., ::-1]).mean() < 6
    shapes = {key: value.shape for key, value in labels.items()}
    assert shapes["part"] == shapes["depth"] == (64, 48)
    assert shapes["canonical"] == (64, 48, 3)
    assert shapes["keypoints_3d"] == (137, 3)
    assert shapes["body"] == (21, 3)
    point = labels["keypoints_3d"][0]
    u = labels["focal_px"] * point[:2] / point[2] + labels["centre_px"]
    np.testing.assert_allclose(labels["keypoints_2d"][0] * [192, 256], u, atol=1e-2)
    restored = labels["depth"].astype(float) * DEPTH_SCALE_M / 127
    inside = np.abs(picture.depth[::4, ::4]) < DEPTH_SCALE_M
    np.testing.assert_allclose(restored[inside], picture.depth[::4, ::4][inside], atol=DEPTH_SCALE_M / 127)


def test_people_and_hands_do_not_share_shards(tmp_path):
    hands, people = (shard_folder(tmp_path, 1, Difficulty(), *kind) for kind in ((), (BODY,)))
    assert hands.name.startswith("synthhand-1-")
    assert people.name.startswith("synthbody-1-")


def test_eval_set_has_ehfs_layout_and_resumes(tmp_path):
    write_body_eval_set(tmp_path, count=3, seed=12)
    own = load_smplx()
    read = read_ehf_layout(tmp_path, "synthbody", parts_by_weight(own), own.faces, np.eye(3), 3, {})
    assert [path.name for path in read.images] == ["001_img.jpg", "002_img.jpg", "003_img.jpg"]
    assert read.how["boxes"] == "EHF.json"
    body = place_body(sample_body_scene(12, 1, draws=ONE_GENERATOR))
    np.testing.assert_allclose(read.true_vertices(slice(1, 2))[0], body.vertices, atol=1e-6)
    sample = read.load(1)["img"]
    assert sample.shape == (3, 256, 192)
    annotations = json.loads((tmp_path / "EHF.json").read_text())["annotations"]
    for box, annotation in zip(read.boxes_xyxy, annotations, strict=True):
        x, y, width, height = annotation["body_bbox"]
        np.testing.assert_allclose(box, [x, y, x + width, y + height], atol=1.5)
        assert 0 <= x < x + width <= 384
        assert 0 <= y < y + height <= 512
    pictures = sorted(tmp_path.glob("*_img.jpg"))
    before = [path.read_bytes() for path in pictures]
    (tmp_path / "synthbody_eval.json").unlink()
    pictures[2].unlink()
    write_body_eval_set(tmp_path, count=3, seed=12)
    assert [path.read_bytes() for path in pictures] == before
    write_body_eval_set(tmp_path, count=3, seed=13)
    assert [path.read_bytes() for path in pictures] != before


def test_varied_eval_set_shows_the_same_people(tmp_path):
    plain, varied = (
        write_body_eval_set(tmp_path / str(variety), count=1, seed=12, variety=variety)
        for variety in (0.0, 1.0)
    )
    for name in ("001_align.ply", "EHF.json"):
        assert (plain / name).read_bytes() == (varied / name).read_bytes()
    assert (plain / "001_img.jpg").read_bytes() != (varied / "001_img.jpg").read_bytes()
