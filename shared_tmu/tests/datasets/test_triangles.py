"""Whether triangles fit meshes: bodies of equally many vertices that are numbered differently."""

import numpy as np
import pytest
import torch
from freihand_folder import write_freihand

from shared_tmu.body_models import load_mano, load_smplx
from shared_tmu.datasets import SetOptions, open_dataset
from shared_tmu.datasets.triangles import faces_fit, faces_of
from shared_tmu.masks import MASKS


@pytest.mark.parametrize("body", [load_mano(), load_smplx()], ids=["hand", "body"])
def test_triangles_fit_their_own_mesh_in_any_numbering_that_both_have(body):
    vertices, faces = np.asarray(body.v_template, np.float64), np.asarray(body.faces)
    order = np.random.default_rng(0).permutation(len(vertices))
    assert faces_fit(faces, 7 * vertices[None])
    assert not faces_fit(faces, vertices[None, order])
    assert faces_fit(np.argsort(order)[faces], vertices[None, order])
    assert not faces_fit(faces, vertices[None, :500])


def test_faces_are_those_of_the_body_layer():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Module())
    assert faces_of(model) is None
    model[1].register_buffer("faces_tensor", torch.tensor([[0, 1, 2]]))
    np.testing.assert_array_equal(faces_of(model), [[0, 1, 2]])
    assert SetOptions().for_model(model).faces is not None


def test_the_true_outline_has_the_triangles_of_the_model(tmp_path):
    write_freihand(tmp_path / "freihand", 2)
    data = open_dataset("freihand", tmp_path)
    mine = data.opened_with(SetOptions(faces=np.asarray(load_mano().faces)[::-1]))
    scene = mine.scene(0, mine.load(0), with_detector=False)
    np.testing.assert_array_equal(scene.true_outline.faces, np.asarray(load_mano().faces)[::-1])
    fits = faces_fit(mine.faces, mine.verts_m)
    assert mine.has_same_vertices == fits
    assert (mine.lacking(MASKS["truth"]) is None) == fits
    assert mine.lacking(MASKS["box"]) is None
