"""Joints and twists: exact both ways, for hands and bodies, also at the limits of the representation."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from shared_tmu.body_models import load_mano
from shared_tmu.body_models.mano import OPENPOSE_JOINTS
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.temporal.posing import rest_points
from shared_tmu.temporal.skeletons import BODY, HAND
from shared_tmu.temporal.twists import (
    about,
    from_features,
    points_to_pose,
    pose_to_points,
    swing,
    to_features,
)

SKELETONS = pytest.mark.parametrize("skeleton", [HAND, BODY], ids=["hand", "body"])


def rotations(*shape, seed=0, dtype=torch.float64):
    count = int(torch.tensor(shape).prod())
    found = Rotation.random(count, random_state=seed).as_matrix()
    return torch.as_tensor(found, dtype=dtype).reshape(*shape, 3, 3)


def rest_of(skeleton, seed=1):
    """A skeleton of random bones: 2 to 6 cm of a hand, 12 to 36 cm of a body."""
    generator = torch.Generator().manual_seed(seed)
    bones = torch.randn(skeleton.num_points, 3, generator=generator, dtype=torch.float64)
    bones *= (0.02 + 0.04 * torch.rand(len(bones), 1, generator=generator)) / bones.norm(dim=1, keepdim=True)
    bones *= 6 if skeleton is BODY else 1
    places = [torch.zeros(3, dtype=torch.float64)]
    for point, parent in enumerate(skeleton.parents[1:], start=1):
        places.append(places[parent] + bones[point])
    return torch.stack(places)


def angle_between(a, b):
    """Angles between rotations, radians, if they are small."""
    turn = a.transpose(-1, -2) @ b
    return torch.linalg.matrix_norm(turn - torch.eye(3, dtype=turn.dtype)).flatten() / 2**0.5


def test_widths_are_those_of_the_paper():
    assert (HAND.width, HAND.num_points, HAND.num_twists) == (93, 21, 15)
    assert (BODY.width, BODY.num_points, BODY.num_twists) == (133, 29, 23)
    for skeleton in (HAND, BODY):
        assert all(skeleton.children)
        assert all(parent < point for point, parent in enumerate(skeleton.parents))
        several = [j for j, children in enumerate(skeleton.children) if len(children) > 1]
        assert set(several) == set(skeleton.fitted)


@SKELETONS
def test_a_pose_returns_from_points_and_twists(skeleton):
    rest, pose = rest_of(skeleton), rotations(64, skeleton.num_joints)
    points, twists = pose_to_points(pose, rest, skeleton)
    back = points_to_pose(points, twists, rest, skeleton)
    assert angle_between(back, pose).max() < 1e-8
    again = pose_to_points(back, rest, skeleton)
    torch.testing.assert_close(again[0], points, atol=1e-10, rtol=0)
    torch.testing.assert_close(again[1], twists, atol=1e-6, rtol=0)


@SKELETONS
def test_features_in_single_precision_lose_less_than_1e_5(skeleton):
    rest, pose = rest_of(skeleton), rotations(200, skeleton.num_joints, seed=3)
    features = to_features(*pose_to_points(pose, rest, skeleton)).float()
    assert features.shape == (200, skeleton.width)
    points, twists = from_features(features.double(), skeleton)
    angles = angle_between(points_to_pose(points, twists, rest, skeleton), pose)
    assert angles.quantile(0.998) < 1e-5  # the rest are swings of nearly half a turn
    assert angles.max() < 1e-4
    torch.testing.assert_close(to_features(points, twists).float(), features, atol=1e-6, rtol=0)


def test_the_bundled_hand_has_its_joints_where_the_representation_says():
    layer = ManoLayer(load_mano())
    betas = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    pose = rotations(5, 16, dtype=torch.float32)
    points, _ = pose_to_points(pose, rest_points(layer, betas), HAND)
    keypoints = layer(pose[:, :1], pose[:, 1:], betas).keypoints
    rows = [OPENPOSE_JOINTS.index(joint) for joint in range(16)]
    torch.testing.assert_close(points[:, :16], keypoints[:, rows], atol=1e-6, rtol=0)


@pytest.mark.parametrize("gap", [0.0, 1e-14, 1e-9, 1e-6, 1e-3])
def test_swings_near_a_half_turn(gap):
    start = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    end = torch.tensor([gap, 0.0, -1.0], dtype=torch.float64)
    found = swing(start, end)
    assert torch.isfinite(found).all()
    assert torch.linalg.det(found) == pytest.approx(1.0)
    torch.testing.assert_close(found @ found.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(found @ start, end / end.norm(), atol=1e-7, rtol=0)


@SKELETONS
def test_half_turns_of_all_bones_stay_rotations(skeleton):
    rest = rest_of(skeleton)
    pose = torch.eye(3, dtype=torch.float64).expand(skeleton.num_joints, 3, 3).clone()
    for joint in range(1, skeleton.num_joints):
        bone = rest[skeleton.children[joint][0]] - rest[joint]
        pose[joint] = swing(bone, -bone)
    points, twists = pose_to_points(pose, rest, skeleton)
    back = points_to_pose(points, twists, rest, skeleton)
    assert torch.isfinite(back).all()
    torch.testing.assert_close(torch.linalg.det(back), torch.ones(skeleton.num_joints, dtype=torch.float64))
    torch.testing.assert_close(pose_to_points(back, rest, skeleton)[0], points, atol=1e-8, rtol=0)


@SKELETONS
def test_wrong_points_give_rotations_without_mirrors(skeleton):
    generator = torch.Generator().manual_seed(5)
    points = 0.1 * torch.randn(50, skeleton.num_points, 3, generator=generator, dtype=torch.float64)
    points[:5] = 0  # also where nothing has a direction
    twists = torch.zeros(50, skeleton.num_twists, 2, dtype=torch.float64)
    found = points_to_pose(points, twists, rest_of(skeleton), skeleton)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(
        torch.linalg.det(found), torch.ones(50, skeleton.num_joints, dtype=torch.float64)
    )


def test_an_error_of_one_joint_does_not_travel_along_the_limb():
    rest, pose = rest_of(HAND), rotations(1, 16, seed=9)
    points, twists = pose_to_points(pose, rest, HAND)
    moved = points.clone()
    moved[:, 1, 0] += 0.002  # the first joint of the index finger
    rebuilt, _ = pose_to_points(points_to_pose(moved, twists, rest, HAND), rest, HAND)
    assert (rebuilt - points)[:, 2:4].norm(dim=-1).max() < 0.004
    torch.testing.assert_close(rebuilt[:, 4:16], points[:, 4:16], atol=2e-3, rtol=0)  # other fingers


def test_about_turns_by_the_angle():
    axis = torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64)
    found = about(axis, torch.tensor([0.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(
        found @ torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64),
        torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64),
    )
