"""Which hand a MANO model is, and whether its shape directions are those of the other hand.

MANO files do not say which hand they hold, and the official `MANO_LEFT.pkl` has the right hand's `shapedirs`
(https://github.com/vchoutas/smplx/issues/48).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["right", "left"]

WRIST, INDEX, LITTLE, THUMB = 0, 1, 7, 13
"""Joints: the wrist, and the bases of three fingers."""
_FINGER_BONES = ((1, 2), (2, 3), (4, 5), (5, 6), (7, 8), (8, 9), (10, 11), (11, 12))


def side_of(joints: NDArray[np.float64], thumb_tip: NDArray[np.float64]) -> Side | None:
    """The hand that joints at rest are: the thumb's tip is on the palm's side of the plane through the wrist
    and the bases of index and little finger.

    Args:
        joints: `[16, 3]`, in MANO's order.
        thumb_tip: `[3]`.

    Returns:
        None if these are not a hand's: its thumb starts nearer to the little finger than to the index.
    """
    index, little, thumb, tip = (
        point - joints[WRIST] for point in (joints[INDEX], joints[LITTLE], joints[THUMB], thumb_tip)
    )
    if np.linalg.norm(thumb - index) > np.linalg.norm(thumb - little):
        return None
    return "right" if np.cross(index, little) @ tip > 0 else "left"


def shapes_are_mirrored(joints: NDArray[np.float64], shifts: NDArray[np.float64]) -> bool:
    """Whether shape directions move a hand's joints as if they were of its mirror image in the plane x = 0.

    Long fingers go with broad palms: over people, both lengths correlate. A hand at rest has its fingers
    along x and its palm's breadth along z, so that with the other hand's directions one grows where the
    other shrinks.

    Args:
        joints: at rest, `[16, 3]`, in MANO's order.
        shifts: of the joints per shape coefficient, `[16, 3, 10]`; coefficients have unit variance.
    """

    def growth(a: int, b: int) -> NDArray[np.float64]:
        along = (joints[b] - joints[a]) / np.linalg.norm(joints[b] - joints[a])
        longer: NDArray[np.float64] = along @ (shifts[b] - shifts[a])  # [10]
        return longer

    fingers = sum(growth(a, b) for a, b in _FINGER_BONES)
    return bool(fingers @ growth(INDEX, LITTLE) < 0)
