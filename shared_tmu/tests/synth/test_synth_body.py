"""SynthBody is an SMPL-X file to the unmodified smplx package, whole, symmetric, and bends like a person."""

import numpy as np
import pytest
import torch

from shared_tmu.body_models.mano import load_mano
from shared_tmu.body_models.smplx_model import EXTRA_VERTICES, NUM_FACES, NUM_VERTICES, SYNTHBODY, load_smplx
from shared_tmu.synth.body.anatomy import (
    EYE_RADIUS,
    GROUND,
    HAND_SHIFT,
    HEIGHT,
    INDEX,
    JOINT_NAMES,
    MIRROR,
    SWAP,
    joints,
)
from shared_tmu.synth.body.mesh import (
    EYE_RIM,
    EYE_VERTICES,
    SKIN_VERTICES,
    triangle_quality,
)
from shared_tmu.synth.body.shape import EXPRESSION_NAMES, SHAPE_NAMES
from shared_tmu.synth.remesh import boundary_edges, unique_edges


@pytest.fixture(scope="module")
def layer():
    smplx = pytest.importorskip("smplx")
    options = {"num_betas": 10, "num_expression_coeffs": 10, "use_face_contour": True, "use_pca": False}
    return smplx.SMPLX(str(SYNTHBODY), ext="npz", flat_hand_mean=True, **options)


def posed(layer, **parameters) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints of the unmodified smplx class; body joints by name in degrees about x, y, z."""
    inputs = {}
    for name, value in parameters.items():
        if name in INDEX:
            pose = inputs.setdefault("body_pose", torch.zeros(1, 63))
            start = 3 * (INDEX[name] - 1)
            pose[0, start : start + 3] = torch.deg2rad(torch.tensor(value, dtype=torch.float32))
        else:
            inputs[name] = torch.as_tensor(value, dtype=torch.float32)[None]
    out = layer(**inputs)
    return out.vertices[0].detach().numpy(), out.joints[0].detach().numpy()


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    corners = vertices[faces]
    return float(np.einsum("fc,fc->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


def test_file_is_small():
    assert SYNTHBODY.stat().st_size < 3e6


def test_unmodified_smplx_loads_it(layer, arrays):
    vertices, points = posed(layer)
    assert vertices.shape == (10475, 3)
    assert points.shape == (144, 3)
    assert layer.faces.shape == (20908, 3)
    np.testing.assert_allclose(vertices, arrays["v_template"], atol=2e-6)
    np.testing.assert_allclose(points[:55], joints(), atol=5e-4)
    assert layer.shapedirs.shape == layer.expr_dirs.shape == (10475, 3, 10)
    assert np.abs(arrays["shapedirs"]).max((0, 1)).min() > 1e-3  # every direction does something


def test_smplx_takes_hand_components(layer):
    import smplx

    relaxed = smplx.SMPLX(str(SYNTHBODY), ext="npz", num_pca_comps=12, flat_hand_mean=False)()
    hands = relaxed.vertices[0].detach().numpy()
    tips = list(EXTRA_VERTICES[11:])
    flat = posed(layer)[0]
    np.testing.assert_allclose(hands[tips[:5]] * MIRROR, hands[tips[5:]], atol=1e-5)
    assert np.linalg.norm(hands[tips] - flat[tips], axis=1).max() > 0.02  # the mean hand is bent


def test_our_loader_reads_it(arrays):
    body = load_smplx()
    np.testing.assert_array_equal(body.v_template, arrays["v_template"])
    np.testing.assert_array_equal(body.shapedirs, arrays["shapedirs"][..., :10])
    np.testing.assert_array_equal(body.exprdirs, arrays["shapedirs"][..., 10:])


def test_one_closed_skin_and_two_open_eyeballs(arrays):
    faces = arrays["f"].astype(np.int64)
    assert (len(arrays["v_template"]), len(faces)) == (NUM_VERTICES, NUM_FACES)
    skin = faces[faces.max(1) < SKIN_VERTICES]
    assert not len(boundary_edges(skin))
    assert SKIN_VERTICES - len(unique_edges(skin)) + len(skin) == 2
    assert np.array_equal(np.unique(skin), np.arange(SKIN_VERTICES))
    for start in (SKIN_VERTICES, SKIN_VERTICES + EYE_VERTICES):
        eye = faces[(faces.min(1) >= start) & (faces.max(1) < start + EYE_VERTICES)]
        assert len(boundary_edges(eye)) == EYE_RIM
        assert EYE_VERTICES - len(unique_edges(eye)) + len(eye) == 1
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)  # consistent winding
    assert 0.050 < volume(arrays["v_template"], skin) < 0.080  # cubic metres of a person, outward normals


def test_person_has_the_size_of_one(arrays):
    vertices = arrays["v_template"]
    assert np.ptp(vertices[:, 1]) == pytest.approx(HEIGHT, abs=0.005)
    assert vertices[:, 1].min() == pytest.approx(GROUND, abs=0.002)
    assert np.ptp(vertices[:, 0]) == pytest.approx(HEIGHT, abs=0.10)  # arm span
    assert triangle_quality(vertices.astype(float), arrays["f"].astype(np.int64)).min() > 0.15


def test_everything_is_mirrored(arrays, template):
    vertices, mirror = template.vertices, template.mirror
    assert np.array_equal(mirror[mirror], np.arange(NUM_VERTICES))
    np.testing.assert_allclose(vertices[mirror], vertices * MIRROR, atol=1e-6)
    np.testing.assert_allclose(arrays["weights"][mirror][:, SWAP], arrays["weights"], atol=1e-5)
    np.testing.assert_allclose(arrays["shapedirs"][mirror], arrays["shapedirs"] * MIRROR[:, None], atol=2e-5)
    np.testing.assert_allclose(arrays["J_regressor"][:, mirror][SWAP], arrays["J_regressor"], atol=1e-6)
    triangles = {tuple(sorted(face)) for face in template.faces.tolist()}
    assert all(tuple(sorted(face)) in triangles for face in mirror[template.faces].tolist())


def test_hands_are_synthhands(arrays, template):
    hand = load_mano()
    for ids, mirror in ((template.right_hand, np.ones(3)), (template.left_hand, MIRROR)):
        assert len(np.unique(ids)) == 778
        np.testing.assert_allclose(template.vertices[ids], (hand.v_template + HAND_SHIFT) * mirror, atol=1e-5)
    start = INDEX["right_index1"]
    np.testing.assert_allclose(arrays["hands_meanr"], hand.hands_mean, atol=1e-6)
    fingers = arrays["weights"][template.right_hand][:, start:]
    assert np.abs(fingers - hand.weights[:, 1:]).mean() < 0.01


def test_vertices_known_by_number_are_what_they_are_called(arrays):
    places = arrays["v_template"][list(EXTRA_VERTICES)]
    names = ["nose", "right_eye", "left_eye", "right_ear", "left_ear"]
    nose, right_eye, left_eye, right_ear, left_ear = places[:5]
    assert len(set(EXTRA_VERTICES)) == 21, names
    assert nose[0] == pytest.approx(0, abs=1e-6)
    head = arrays["v_template"][arrays["v_template"][:, 1] > GROUND + 1.5]
    assert nose[2] > head[:, 2].max() - 0.002
    np.testing.assert_allclose(left_eye - joints()[INDEX["left_eye"]], [0, 0, EYE_RADIUS], atol=1e-4)
    assert right_ear[0] < -0.07
    assert left_ear[0] > 0.07
    for big, small, heel in (places[5:8], places[8:11]):
        assert big[2] > small[2] > 0.10 > -0.05 > heel[2]
        assert abs(big[0]) < abs(small[0])
        assert max(big[1], small[1]) < GROUND + 0.04
    np.testing.assert_allclose(places[1] * MIRROR, left_eye, atol=1e-6)
    assert right_eye[0] < 0


def test_weights_and_regressor_are_convex(arrays):
    for key in ("weights", "J_regressor"):
        assert (arrays[key] >= 0).all()
        np.testing.assert_allclose(arrays[key].sum(1), 1.0, atol=1e-4)
    np.testing.assert_allclose(arrays["J_regressor"] @ arrays["v_template"], joints(), atol=3e-4)


def test_bones_move_their_flesh_rigidly(layer, arrays):
    """Far from joints a limb keeps its shape; flesh of other limbs stays where it is."""
    bent, _ = posed(layer, left_elbow=(0, -90, 0), right_knee=(80, 0, 0))
    rest, weights = arrays["v_template"], arrays["weights"]
    for name in ("left_elbow", "right_knee"):
        solid = np.flatnonzero(weights[:, INDEX[name]] > 0.999)[::7]
        assert len(solid) > 8
        before = np.linalg.norm(rest[solid][:, None] - rest[solid][None], axis=-1)
        after = np.linalg.norm(bent[solid][:, None] - bent[solid][None], axis=-1)
        np.testing.assert_allclose(after, before, atol=1e-4)
    still = (
        weights[:, [INDEX[n] for n in ("pelvis", "spine2", "head", "right_elbow", "left_knee")]].sum(1)
        > 0.999
    )
    np.testing.assert_allclose(bent[still], rest[still], atol=1e-5)


@pytest.mark.parametrize(
    "pose",
    [
        {"left_shoulder": (0, 0, -70), "right_shoulder": (0, 0, 70)},
        {
            "left_hip": (-90, 0, 0),
            "right_hip": (-90, 0, 0),
            "left_knee": (90, 0, 0),
            "right_knee": (90, 0, 0),
        },
        {"left_elbow": (0, -120, 0), "right_elbow": (0, 120, 0)},
        {"spine1": (20, 20, 0), "spine2": (15, 15, 0), "head": (0, 40, 0)},
    ],
)
def test_flesh_keeps_its_volume(layer, pose):
    skin = layer.faces[layer.faces.max(1) < SKIN_VERTICES].astype(np.int64)
    rest = volume(posed(layer)[0].astype(float), skin)
    assert volume(posed(layer, **pose)[0].astype(float), skin) == pytest.approx(rest, rel=0.06)


def test_shape_directions_do_what_they_are_named_after(layer):
    def lengths(name: str | None) -> dict[str, float]:
        betas = 2.0 * np.eye(10)[SHAPE_NAMES.index(name)] if name else np.zeros(10)
        vertices, points = posed(layer, betas=betas)
        j = {n: points[i] for i, n in enumerate(JOINT_NAMES)}
        waist = vertices[np.abs(vertices[:, 1] - j["spine1"][1]) < 0.03]
        return {
            "height": np.ptp(vertices[:, 1]),
            "leg": np.linalg.norm(j["left_hip"] - j["left_knee"])
            + np.linalg.norm(j["left_knee"] - j["left_ankle"]),
            "arm": np.linalg.norm(j["left_shoulder"] - j["left_wrist"]),
            "shoulders": np.linalg.norm(j["left_shoulder"] - j["right_shoulder"]),
            "hips": np.linalg.norm(j["left_hip"] - j["right_hip"]),
            "belly": waist[:, 2].max(),
            "volume": volume(vertices.astype(float), layer.faces.astype(np.int64)),
        }

    rest = lengths(None)
    changes = {"height": "height", "weight": "volume", "leg_length": "leg", "arm_length": "arm"}
    changes |= {"shoulder_width": "shoulders", "hip_width": "hips", "belly": "belly", "muscle": "volume"}
    for name, measure in changes.items():
        assert lengths(name)[measure] > 1.02 * rest[measure], name
    assert lengths("leg_length")["arm"] == pytest.approx(rest["arm"], rel=0.01)
    assert lengths("arm_length")["leg"] == pytest.approx(rest["leg"], rel=0.01)


def test_expressions_move_the_face_only(arrays):
    moved = np.abs(arrays["shapedirs"][..., 10:]).max(1)  # [V, 10]
    assert moved[arrays["v_template"][:, 1] < GROUND + 1.42].max() == 0
    assert (moved.max(0) > 1.5e-3).all()
    assert moved[SKIN_VERTICES:].max() == 0
    lips = EXPRESSION_NAMES.index("mouth_open")
    assert np.ptp(arrays["shapedirs"][:, 1, 10 + lips]) > 0.005


def test_landmarks_sit_on_the_face_in_order(layer):
    _, points = posed(layer)
    fixed, contour = points[76:127], points[127:]
    np.testing.assert_allclose(fixed[:5] * MIRROR, fixed[5:10][::-1], atol=1e-3)  # brows
    assert (np.diff(fixed[10:14, 1]) < 0).all()  # down the nose
    assert (np.diff(fixed[14:19, 0]) > 0).all()  # right to left below it
    assert fixed[19:25, 0].max() < 0 < fixed[25:31, 0].min()  # right eye, left eye
    assert fixed[31, 0] == fixed[31:43, 0].min()  # mouth: right corner first
    assert fixed[37, 0] == fixed[31:43, 0].max()
    assert fixed[45, 1] > fixed[49, 1]  # inner lips: upper above lower
    assert (np.diff(contour[:, 0]) > 0).all()
    assert contour[8, 1] < contour[:, 1].min() + 1e-3
    assert contour[8, 2] == contour[:, 2].max()
    turned = posed(layer, neck=(0, 30, 0))[1][127:]
    straight = posed(layer)[1][127:]
    assert abs(turned[14, 0]) > 0.03  # the far cheek still has its edge
    assert not np.allclose(turned, straight, atol=1e-3)
