"""The head of SynthBody as a signed distance: skull, jaw, nose, lips, eye sockets and ears.

Tables give the left half. Places are relative to the point between the eyes, on the plane of the ears.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.synth.body.anatomy import GROUND, above_ground
from shared_tmu.synth.body.shapes import Cone, Ellipsoid, Part

Array = NDArray[np.float64]
EYE_LEVEL = 1.588
MOUTH = -0.0705  # where the lips meet, relative to the eyes


def face(x: float, up: float, z: float) -> Array:
    """A point of the face given relative to the point between the eyes, `[3]` metres."""
    return above_ground(x, EYE_LEVEL + up, z)


def _turn(about_x: float, about_y: float, about_z: float = 0.0) -> Array:
    """A rotation matrix from degrees."""
    return np.asarray(Rotation.from_euler("xyz", [about_x, about_y, about_z], degrees=True).as_matrix())


@lru_cache(maxsize=1)
def head_parts() -> tuple[Part, ...]:
    """What joins the neck, in sequence."""
    skull = (
        Part(Ellipsoid(face(0, 0.026, -0.012), (0.0755, 0.0860, 0.0960)), 0.020),
        Part(Ellipsoid(face(0, 0.000, -0.020), (0.0720, 0.0700, 0.0850)), 0.020),
        Part(Ellipsoid(face(0, -0.036, 0.028), (0.0580, 0.0740, 0.0580)), 0.030),
        Part(Cone(face(0.043, -0.066, 0.004), face(0.013, -0.101, 0.060), 0.014, 0.012), 0.034),
        Part(Ellipsoid(face(0, -0.100, 0.066), (0.020, 0.014, 0.016)), 0.022),
        Part(Ellipsoid(face(0, -0.066, 0.056), (0.033, 0.034, 0.0355)), 0.024),
        Part(Ellipsoid(face(0.030, -0.052, 0.046), (0.026, 0.034, 0.030)), 0.030),
        Part(Ellipsoid(face(0.044, -0.022, 0.049), (0.021, 0.018, 0.024)), 0.030),
        Part(Cone(face(0.010, 0.0200, 0.0775), face(0.044, 0.0170, 0.0630), 0.0080, 0.0085), 0.022),
    )
    eyes = (
        Part(Ellipsoid(face(0.0320, 0.0005, 0.0920), (0.0185, 0.0110, 0.0140)), 0.014, carve=True),
        Part(Ellipsoid(face(0.0315, 0.0000, 0.0650), (0.0146, 0.0135, 0.0140)), 0.006),
        Part(Ellipsoid(face(0.0320, -0.0004, 0.0800), (0.0132, 0.0050, 0.0090)), 0.0015, carve=True),
    )
    nose = (
        Part(Cone(face(0, 0.008, 0.0810), face(0, -0.033, 0.1045), 0.0075, 0.0085), 0.014),
        Part(Ellipsoid(face(0, -0.0370, 0.1050), (0.0095, 0.0085, 0.0095)), 0.008),
        Part(Ellipsoid(face(0.0105, -0.0405, 0.0945), (0.0065, 0.0070, 0.0095)), 0.007),
        Part(Ellipsoid(face(0.0058, -0.0475, 0.0995), (0.0030, 0.0036, 0.0050)), 0.002, carve=True),
    )
    mouth = (
        Part(Cone(face(0, MOUTH + 0.0048, 0.0895), face(0.0245, MOUTH, 0.0805), 0.0054, 0.0034), 0.006),
        Part(
            Cone(face(0, MOUTH - 0.0060, 0.0878), face(0.0230, MOUTH - 0.001, 0.0800), 0.0064, 0.0034), 0.006
        ),
        Part(Cone(face(0, MOUTH, 0.0955), face(0.0255, MOUTH, 0.0850), 0.0022, 0.0016), 0.0035, carve=True),
        Part(Ellipsoid(face(0, -0.0880, 0.0945), (0.018, 0.0045, 0.0065)), 0.010, carve=True),
    )
    tilt = _turn(-10, -24, -5)
    ear = (
        Part(Ellipsoid(face(0.0770, -0.010, -0.018), (0.0060, 0.0310, 0.0185), tilt), 0.006),
        Part(Ellipsoid(face(0.0835, -0.007, -0.014), (0.0060, 0.0190, 0.0100), tilt), 0.004, carve=True),
    )
    return (*skull, *eyes, *nose, *mouth, *ear)


EYE_CENTRE = face(0.0315, 0.0, 0.0655)
GROUND_TO_EYES = EYE_LEVEL + GROUND
