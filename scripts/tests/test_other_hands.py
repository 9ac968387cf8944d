"""Reading and fitting other people's hands: the stated residuals, and files that are not such hands."""

import json

import build_other_hands
import numpy as np
import pytest
from hand_parts.fitting import posed, rigid
from hand_parts.measuring import measured
from hand_parts.sources import read_webxr
from hand_parts.surfaces import Surface, closest_in_triangles

from shared_tmu.errors import InputError
from shared_tmu.synth.hand import synth_hand


def test_residuals_are_those_of_the_kept_file():
    stated = json.loads(build_other_hands.RESIDUALS.read_text(encoding="utf-8"))
    assert set(stated) == {"anny", "webxr"}
    found = measured("webxr")
    assert set(found) == set(stated["webxr"])
    for key, value in stated["webxr"].items():
        if isinstance(value, dict):
            assert found[key] == pytest.approx(value, abs=0.03), key
    for one in stated.values():
        assert one["label_to_drawn_key_points"]["mean_mm"] < 2.5
        assert one["own_vertices_to_drawn_surface_at_rest"]["mean_mm"] < 1.0


ROWS = {
    "key points: label to hand that is drawn": "label_to_drawn_key_points",
    "vertices: label to counterpart on the hand that is drawn": "label_to_drawn_vertices",
    "surface: the hand's own vertices to what is drawn, at rest": "own_vertices_to_drawn_surface_at_rest",
    "drawn vertices to where the hand's own joints and skinning put them": "drawn_to_own_rig_vertices",
    "the hand's own joints to those of SynthHand in it, at rest": "own_joints_to_drawn_joints_at_rest",
}


def test_the_page_states_the_residuals_of_the_file():
    stated = json.loads(build_other_hands.RESIDUALS.read_text(encoding="utf-8"))
    page = (build_other_hands.REPOSITORY / "shared_tmu" / "README.md").read_text(encoding="utf-8")
    for title, key in ROWS.items():
        found = [stated[name][key] for name in ("anny", "webxr")]
        cells = [f"{one['mean_mm']:.2f} ({one['p95_mm']:.2f})" for one in found]
        assert f"| {title} | {' | '.join(cells)} |\n" in page


def test_posing_is_synthhands_without_correctives():
    hand, rng = synth_hand(), np.random.default_rng(0)
    turns = rng.normal(0.0, 0.3, (16, 3)).astype(np.float32)
    plain = hand.pose_directions
    try:
        hand.pose_directions = np.zeros_like(plain)
        want = hand.pose(turns[0], turns[1:], np.zeros(10, np.float32)).vertices
    finally:
        hand.pose_directions = plain
    vertices, _ = posed(hand.template, hand.regressor @ hand.template, hand.weights, turns)
    np.testing.assert_allclose(vertices, want, atol=1e-6)


def test_the_nearest_point_of_a_triangle():
    rng = np.random.default_rng(1)
    corners, points = rng.normal(size=(200, 3, 3)), rng.normal(size=(200, 3))
    bary = closest_in_triangles(points, corners)
    assert (bary >= 0).all()
    np.testing.assert_allclose(bary.sum(1), 1.0)
    near = np.linalg.norm(np.einsum("kv,kvc->kc", bary, corners) - points, axis=1)
    tried = rng.dirichlet(np.ones(3), (200, 500))
    others = np.linalg.norm(np.einsum("ktv,kvc->ktc", tried, corners) - points[:, None], axis=2).min(1)
    assert (near <= others + 1e-9).all()
    assert (others - near).max() < 0.5


def test_a_surface_finds_its_own_points_and_not_those_of_another_finger():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    above = vertices + np.array([0.0, 0.0, 0.1])
    both = 0.02 * np.concatenate([vertices, above])
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    fingers = np.zeros((6, 5))
    fingers[:3, 0], fingers[3:, 1] = 1.0, 1.0
    surface = Surface(both, faces, fingers)
    points, normals = np.full((1, 3), 0.005), np.array([[0.0, 0.0, 1.0]])
    points[:, 2] = 0.0
    for finger in (0, 1):
        asked = np.zeros((1, 5))
        asked[0, finger] = 1.0
        assert surface.nearest(points, normals, asked).face[0] == finger


def test_a_rigid_motion_is_found_without_mirroring():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(20, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    found, shift = rigid(points, points @ turn.T + 0.3)
    np.testing.assert_allclose(found, turn, atol=1e-9)
    np.testing.assert_allclose(shift, 0.3, atol=1e-9)
    assert np.linalg.det(rigid(points, points * [1, 1, -1])[0]) == pytest.approx(1.0)


def test_a_file_that_is_no_webxr_hand_is_refused(tmp_path):
    path = tmp_path / "right.glb"
    with pytest.raises(InputError, match="cannot be read"):
        read_webxr(path)
    for data in (b"", b"glTF", b"glTF" + bytes(40), b"PK" + bytes(60)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"right\.glb is not a GLB file with a WebXR hand"):
            read_webxr(path)


def test_building_without_the_file_says_which_one_is_needed():
    with pytest.raises(InputError, match="--webxr FILE"):
        build_other_hands.main(["--only", "webxr"])
