"""SynthHand is a MANO file to the unmodified smplx package, has MANO's topology, and bends like a hand."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_tmu.body_models.mano import SYNTHHAND, load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.synth.anatomy import FINGERS, HAND, bone_ends, joints
from shared_tmu.synth.build import RIM, TIP_IDS, build_hand, mean_parameters
from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.poses import POSTURES, posture_pose, sample_hand_poses
from shared_tmu.synth.remesh import boundary_edges, unique_edges
from shared_tmu.synth.rig import SHAPE_NAMES

REST = np.zeros((15, 3), np.float32)
NO_TURN = np.zeros(3, np.float32)


@pytest.fixture(scope="module")
def arrays():
    with np.load(SYNTHHAND, allow_pickle=False) as data:
        return {key: data[key] for key in data.files}


def test_unmodified_smplx_loads_it(arrays):
    smplx = pytest.importorskip("smplx")
    layer = smplx.MANO(str(SYNTHHAND), ext="npz", use_pca=True, num_pca_comps=12, flat_hand_mean=False)
    assert layer.is_rhand
    out = layer()
    assert out.vertices.shape == (1, 778, 3)
    assert layer.faces.shape == (1538, 3)
    flat = smplx.MANO(str(SYNTHHAND), ext="npz", use_pca=False, flat_hand_mean=True)()
    np.testing.assert_allclose(flat.vertices[0].detach().numpy(), arrays["v_template"], atol=1e-6)


def test_mesh_is_one_open_sheet_with_the_wrist_as_its_only_hole(arrays):
    faces = arrays["f"].astype(np.int64)
    edges, rim = unique_edges(faces), boundary_edges(faces)
    assert len(arrays["v_template"]) - len(edges) + len(faces) == 1  # Euler number of a disc
    assert len(rim) == RIM
    assert (np.bincount(rim.ravel())[np.unique(rim)] == 2).all()  # one closed loop
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)  # consistent winding
    corners = arrays["v_template"][faces]
    volume = np.einsum("fc,fc->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume > 1.5e-4  # outward normals, and the bulk of a hand (litres / 1000)


def test_no_triangle_is_degenerate(arrays):
    corners = arrays["v_template"][arrays["f"].astype(np.int64)].astype(np.float64)
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    double = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.linalg.norm(double, axis=1)
    quality = 4 * np.sqrt(3) * area / (sides**2).sum(1)  # one for an equilateral triangle
    assert quality.min() > 0.15
    assert np.median(quality) > 0.85


@pytest.mark.parametrize("name", FINGERS)
def test_fingertips_have_the_ids_of_smplx(arrays, name):
    finger = HAND[name]
    tip = arrays["v_template"][TIP_IDS[name]]
    assert np.linalg.norm(tip - finger.points[3]) < 0.012
    near = arrays["v_template"][np.linalg.norm(arrays["v_template"] - finger.points[3], axis=1) < 0.02]
    assert tip @ finger.axes[2] >= (near @ finger.axes[2]).max() - 1e-6


def test_weights_and_regressor_are_convex(arrays):
    for key in ("weights", "J_regressor"):
        assert (arrays[key] >= 0).all()
        np.testing.assert_allclose(arrays[key].sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(arrays["J_regressor"] @ arrays["v_template"], joints(), atol=5e-4)


def test_shape_directions_do_what_they_are_named_after(arrays):
    def length(betas: np.ndarray, name: str) -> float:
        hand = synth_hand().pose(NO_TURN, REST, betas.astype(np.float32))
        first = {"thumb": 1, "index": 5, "middle": 9, "ring": 13, "pinky": 17}[name]
        chain = hand.keypoints[first : first + 4]
        return float(np.linalg.norm(np.diff(chain, axis=0), axis=1).sum())

    def unit(name: str) -> np.ndarray:
        return 2.0 * np.eye(10)[SHAPE_NAMES.index(name)]

    rest = {name: length(np.zeros(10), name) for name in FINGERS}
    assert length(unit("finger_length"), "middle") > 1.08 * rest["middle"]
    assert abs(length(unit("finger_length"), "thumb") / rest["thumb"] - 1) < 0.02
    assert length(unit("thumb_length"), "thumb") > 1.08 * rest["thumb"]
    assert length(unit("little_finger_length"), "pinky") > 1.08 * rest["pinky"]
    for name in FINGERS:
        assert length(unit("size"), name) > 1.08 * rest[name]
        assert abs(length(unit("thickness"), name) / rest[name] - 1) < 0.03
    width = np.ptp(arrays["v_template"][:, 2])
    wide = synth_hand().pose(NO_TURN, REST, unit("palm_width").astype(np.float32)).vertices
    assert np.ptp(wide[:, 2]) > 1.02 * width


def test_bent_joints_keep_their_flesh(arrays):
    """The correctives give back part of the volume that blending takes from a bent finger."""
    fist = posture_pose("fist").astype(np.float32)
    hand = synth_hand()
    with_correctives = hand.pose(NO_TURN, fist, np.zeros(10, np.float32)).vertices
    saved, hand.__dict__["pose_directions"] = hand.pose_directions, np.zeros_like(hand.pose_directions)
    try:
        without = hand.pose(NO_TURN, fist, np.zeros(10, np.float32)).vertices
    finally:
        hand.__dict__["pose_directions"] = saved

    def volume(vertices: np.ndarray) -> float:
        corners = vertices[hand.faces] - vertices[hand.rim].mean(0)
        return float(np.einsum("fc,fc->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)

    assert volume(with_correctives) > volume(without)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_numpy_hand_equals_the_torch_layer(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(0, 1.5, 3).astype(np.float32)
    fingers = sample_hand_poses(rng, 1)[0].astype(np.float32)
    betas = rng.normal(0, 1, 10).astype(np.float32)
    ours = synth_hand().pose(root, fingers, betas)
    turn = axis_angle_to_rotmat(torch.tensor(np.concatenate([root[None], fingers])))
    truth = ManoLayer(load_mano())(turn[None, :1], turn[None, 1:], torch.tensor(betas)[None])
    np.testing.assert_allclose(ours.vertices, truth.vertices[0].numpy(), atol=2e-6)
    np.testing.assert_allclose(ours.keypoints, truth.keypoints[0].numpy(), atol=2e-6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_poses_are_within_reach_of_a_hand(seed):
    poses = sample_hand_poses(np.random.default_rng(seed), 50)
    degrees = np.degrees(np.linalg.norm(poses, axis=-1))
    assert poses.shape == (50, 15, 3)
    assert degrees[:, :12].max() < 115
    assert degrees[:, 12:].max() < 80
    again = sample_hand_poses(np.random.default_rng(seed), 50)
    np.testing.assert_array_equal(poses, again)


def test_postures_close_and_open_the_fingers():
    def reach(name: str) -> np.ndarray:
        fingers = posture_pose(name).astype(np.float32)
        points = synth_hand().pose(NO_TURN, fingers, np.zeros(10, np.float32)).keypoints
        return np.linalg.norm(points[[8, 12, 16, 20]] - points[0], axis=1)

    assert (reach("fist") < 0.70 * reach("flat")).all()
    assert reach("point")[0] > 0.9 * reach("flat")[0]
    assert (reach("point")[1:] < 0.75 * reach("flat")[1:]).all()
    assert set(POSTURES) >= {"ok", "victory", "pinch", "thumb_up"}


def test_pose_space_explains_the_sampled_poses(arrays):
    components, mean = arrays["hands_components"], arrays["hands_mean"]
    np.testing.assert_allclose(components @ components.T, np.eye(45), atol=1e-4)
    poses = sample_hand_poses(np.random.default_rng(5), 400).reshape(400, 45) - mean
    kept = (poses @ components[:12].T) @ components[:12]
    assert ((poses - kept) ** 2).sum() < 0.10 * (poses**2).sum()


def test_mean_parameters_are_rotations(arrays):
    from shared_tmu.body_models.mano import load_mean_params
    from shared_tmu.pictures.geometry import rot6d_to_rotmat

    mean = mean_parameters(arrays["hands_mean"])
    shipped = load_mean_params()
    np.testing.assert_allclose(shipped.pose, mean["pose"], atol=1e-6)
    rotmats = rot6d_to_rotmat(torch.tensor(shipped.pose).reshape(16, 6))
    turns = axis_angle_to_rotmat(torch.tensor(arrays["hands_mean"]).reshape(15, 3))
    torch.testing.assert_close(rotmats[1:], turns, atol=1e-5, rtol=0)


def test_the_shipped_file_is_what_the_script_builds(arrays):
    made = build_hand(seed=0)
    assert made.keys() == arrays.keys()
    for key in ("v_template", "weights", "shapedirs", "posedirs", "J_regressor", "hands_mean"):
        np.testing.assert_allclose(made[key], arrays[key], atol=1e-5, err_msg=key)
    assert hashlib.sha256(made["f"].tobytes()).digest() == hashlib.sha256(arrays["f"].tobytes()).digest()
    assert bone_ends().shape == (16, 3)
