"""Pose correctives of SynthBody: they restore the volume that blending removes at bent joints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.mano import load_mano
from shared_tmu.body_models.smplx_model import PARENTS
from shared_tmu.synth.body.anatomy import INDEX, JOINT_NAMES, joints
from shared_tmu.synth.body.mesh import Template

Array = NDArray[np.float64]
_REACH_M = {"elbow": 0.075, "knee": 0.11, "shoulder": 0.11, "hip": 0.16, "ankle": 0.075}
_STRENGTH = {"elbow": 0.45, "knee": 0.45, "shoulder": 0.30, "hip": 0.30, "ankle": 0.3}
DIAGONAL = (0, 4, 8)  # entries of R - I, row-major


def pose_correctives(template: Template, weights: Array) -> Array:
    """Displacement per entry of R - I of joints 1..54, `[10475, 3, 486]` metres; see `synth.rig`.

    The hands have SynthHand's; limbs the same kind at their large joints.
    """
    vertices, rest = template.vertices, joints()
    out = np.zeros((len(vertices), 3, 9 * (len(JOINT_NAMES) - 1)))
    for name, reach in _REACH_M.items():
        for side in ("left", "right"):
            j = INDEX[f"{side}_{name}"]
            below = weights[:, [k for k in range(len(PARENTS)) if _descends(k, j)]].sum(1)
            offset = vertices - rest[j]
            near = np.exp(-((np.linalg.norm(offset, axis=1) / reach) ** 4))
            amount = -_STRENGTH[name] * (below * (1.0 - below) * near)[:, None] * offset
            for entry in DIAGONAL:
                out[:, :, 9 * (j - 1) + entry] = amount
    hand = load_mano().posedirs.astype(np.float64)  # [778, 3, 135]
    for ids, side, mirror in ((template.left_hand, "left", -1.0), (template.right_hand, "right", 1.0)):
        first = 9 * (INDEX[f"{side}_index1"] - 1)
        out[ids, :, first : first + 135] = hand * np.array([mirror, 1.0, 1.0])[:, None]
    return out


def _descends(joint: int, ancestor: int) -> bool:
    while joint > 0 and joint != ancestor:
        joint = PARENTS[joint]
    return joint == ancestor
