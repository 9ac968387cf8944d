"""Builds SynthBody: the arrays of a file in SMPL-X's layout."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.mano import load_mano
from shared_tmu.body_models.smplx_model import PARENTS
from shared_tmu.synth import rig
from shared_tmu.synth.body.anatomy import SWAP, joints
from shared_tmu.synth.body.correctives import pose_correctives
from shared_tmu.synth.body.landmarks import landmark_arrays
from shared_tmu.synth.body.mesh import SKIN_VERTICES, Template, build_template
from shared_tmu.synth.body.shape import expression_directions, shape_directions
from shared_tmu.synth.body.weights import skinning_weights

log = logging.getLogger(__name__)
Array = NDArray[np.float64]
GRID_M = 2.0**-17  # lengths are rounded to 8 micrometres, which makes the file small
MIRRORED_TURN = np.array([1.0, -1.0, -1.0])  # an axis-angle seen in a mirror across x


def _rounded(values: Array, grid: float = GRID_M) -> NDArray[np.float32]:
    return np.asarray(np.round(values / grid) * grid, np.float32)


def build_body(template: Template | None = None) -> dict[str, NDArray[np.generic]]:
    """Build the person.

    Args:
        template: its mesh; made anew by default, which takes about a minute.

    Returns:
        The arrays of an SMPL-X file under SMPL-X's own names and in its shapes, metres and radians; 10 shape
        and 10 expression directions in `shapedirs`.
    """
    template = template or build_template()
    template = replace(template, vertices=_rounded(template.vertices).astype(np.float64))
    weights = skinning_weights(template)
    vertices = template.vertices
    directions, joint_directions = shape_directions(vertices, weights)
    regressor = _regressor(template, directions, joint_directions)
    log.info("joints regressed to %.3f mm", 1e3 * np.abs(regressor @ vertices - joints()).max())
    expressions = expression_directions(template, weights)
    hand = load_mano()
    components, mean = hand.hands_components.astype(np.float32), hand.hands_mean.astype(np.float32)
    mirrored = np.tile(MIRRORED_TURN, 15).astype(np.float32)
    kintree = np.stack([np.array(PARENTS), np.arange(len(PARENTS))]).astype(np.int64)
    kintree[0, 0] = 2**32 - 1
    return {
        "v_template": _rounded(vertices),
        "f": template.faces.astype(np.uint32),
        "J_regressor": regressor.astype(np.float32),
        "J": (regressor @ vertices).astype(np.float32),
        "weights": _rounded(weights, 2.0**-20),
        "shapedirs": _rounded(np.concatenate([directions, expressions], axis=2)),
        "posedirs": _rounded(pose_correctives(template, weights)),
        "kintree_table": kintree.astype(np.uint32),
        "hands_componentsl": components * mirrored,
        "hands_componentsr": components,
        "hands_meanl": mean * mirrored,
        "hands_meanr": mean,
        **landmark_arrays(vertices, template.faces),
    }


def _regressor(template: Template, directions: Array, joint_directions: Array) -> Array:
    """`[55, 10475]`, mirrored left to right; eyeballs carry no joint."""
    rest, vertices = joints(), template.vertices
    left = [j for j in range(len(rest)) if SWAP[j] >= j]  # and the middle
    skin = slice(0, SKIN_VERTICES)
    out = np.zeros((len(rest), len(vertices)))
    out[left, skin] = rig.joint_regressor(
        vertices[skin], rest[left], directions[skin], joint_directions[left], nearest=600, stress=1.0
    )
    mirrored = out[:, template.mirror][SWAP]
    middle = np.arange(len(rest)) == SWAP
    out[middle] = 0.5 * (out[middle] + mirrored[middle])
    right = np.arange(len(rest)) > SWAP
    out[right] = mirrored[right]
    return out
