"""The mesh of bodies, and the file that ships."""

import numpy as np

from shared_tmu.synth.body.build import build_body
from shared_tmu.synth.body.mesh import (
    EYE_RIM,
    SKIN_VERTICES,
    eyeball,
)
from shared_tmu.synth.body.rims import zipper
from shared_tmu.synth.body.surface import person_distance
from shared_tmu.synth.remesh import boundary_edges


def test_zipper_closes_two_loops_of_different_length():
    _, faces = eyeball()
    assert len(boundary_edges(faces)) == EYE_RIM
    first, second = np.arange(5), np.arange(5, 12)
    angles = np.concatenate([np.arange(5) / 5, np.arange(7) / 7]) * 2 * np.pi
    ring = np.stack([np.cos(angles), np.sin(angles), np.repeat([0.0, 1.0], [5, 7])], axis=1)
    made = zipper(first, second, ring)
    assert made.shape == (12, 3)
    assert len(boundary_edges(made)) == 12


def test_shipped_mesh_lies_on_the_modelled_surface(template):
    hands = np.concatenate([template.left_hand, template.right_hand])
    skin = np.setdiff1d(np.arange(SKIN_VERTICES), hands)
    distance = np.abs(person_distance(template.vertices[skin]))
    assert np.median(distance) < 1e-4
    assert np.percentile(distance, 99) < 1.5e-3  # folds are smoothed


def test_shipped_file_is_what_the_script_builds_on_this_mesh(arrays, template):
    made = build_body(template)
    assert made.keys() == arrays.keys()
    for key in arrays.keys() - {"J_regressor"}:
        np.testing.assert_allclose(made[key], arrays[key], atol=3e-5, err_msg=key)
    # Which of several equal neighbours carry a joint hangs on the last digit; where the joints are does not.
    shapes = [made["v_template"][None], made["v_template"] + made["shapedirs"].transpose(2, 0, 1)]
    for vertices in np.concatenate(shapes).astype(np.float64):
        joints = [one["J_regressor"] @ vertices for one in (made, arrays)]
        np.testing.assert_allclose(*joints, atol=3e-5)
    np.testing.assert_allclose(made["J_regressor"].sum(1), 1.0, atol=1e-5)
    assert made["J_regressor"].min() >= 0
