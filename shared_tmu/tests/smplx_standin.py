"""A random body in SMPL-X's layout: nothing licensed, nothing that looks like a person."""

from functools import cache

import numpy as np

from shared_tmu.body_models import SmplxModel
from shared_tmu.body_models.smplx_model import NUM_FACES, NUM_JOINTS, NUM_VERTICES, PARENTS


@cache
def smplx_standin(correctives: bool = False) -> SmplxModel:
    """Every array is random and body-sized; pose correctives only on request, since they are large."""
    rng = np.random.default_rng(0)

    def noise(scale: float, *shape: int) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    def rows(count: int, length: int) -> np.ndarray:
        """Non-negative rows of a few entries that sum to one."""
        out = np.zeros((count, length), np.float32)
        for row in out:
            row[rng.choice(length, 4, replace=False)] = rng.dirichlet(np.ones(4))
        return out

    posedirs = np.zeros((NUM_VERTICES, 3, 9 * (NUM_JOINTS - 1)), np.float32)
    if correctives:
        posedirs[:] = noise(1e-3, NUM_VERTICES, 3, 1) * noise(1.0, 9 * (NUM_JOINTS - 1))
    kintree = np.stack((np.array(PARENTS), np.arange(NUM_JOINTS))).astype(np.uint32)
    return SmplxModel.from_dict(
        {
            "v_template": noise(0.4, NUM_VERTICES, 3),
            "f": rng.integers(0, NUM_VERTICES, (NUM_FACES, 3), dtype=np.uint32),
            "J_regressor": rows(NUM_JOINTS, NUM_VERTICES),
            "weights": rows(NUM_VERTICES, NUM_JOINTS),
            "shapedirs": noise(0.02, NUM_VERTICES, 3, 20),
            "posedirs": posedirs,
            "hands_componentsl": noise(0.3, 45, 45),
            "hands_componentsr": noise(0.3, 45, 45),
            "hands_meanl": noise(0.3, 45),
            "hands_meanr": noise(0.3, 45),
            "kintree_table": kintree,
            "lmk_faces_idx": rng.integers(0, NUM_FACES, 51),
            "lmk_bary_coords": rng.dirichlet(np.ones(3), 51).astype(np.float32),
            "dynamic_lmk_faces_idx": rng.integers(0, NUM_FACES, (79, 17)),
            "dynamic_lmk_bary_coords": rng.dirichlet(np.ones(3), (79, 17)).astype(np.float32),
        }
    )
