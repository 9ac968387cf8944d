"""The shipped body, and what it is built from."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from shared_tmu.body_models.mano import load_mano
from shared_tmu.body_models.smplx_model import SYNTHBODY
from shared_tmu.synth.body.anatomy import (
    HAND_SHIFT,
    MIRROR,
)
from shared_tmu.synth.body.mesh import (
    SKIN_VERTICES,
    Template,
)


@pytest.fixture(scope="module")
def arrays():
    with np.load(SYNTHBODY, allow_pickle=False) as data:
        return {key: data[key] for key in data.files}


@pytest.fixture(scope="module")
def template(arrays):
    """The mesh of the shipped file with what its vertices are, found again by their places."""
    vertices = arrays["v_template"].astype(np.float64)
    skin, eyes = cKDTree(vertices[:SKIN_VERTICES]), cKDTree(vertices[SKIN_VERTICES:])
    hand = load_mano().v_template.astype(np.float64) + HAND_SHIFT
    right, left = skin.query(hand)[1], skin.query(hand * MIRROR)[1]
    mirror = np.concatenate(
        [
            skin.query(vertices[:SKIN_VERTICES] * MIRROR)[1],
            SKIN_VERTICES + eyes.query(vertices[SKIN_VERTICES:] * MIRROR)[1],
        ]
    )
    return Template(vertices, arrays["f"].astype(np.int64), left, right, mirror)
