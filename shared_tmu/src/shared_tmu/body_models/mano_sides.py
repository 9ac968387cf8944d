"""Which hand a MANO model is: MANO files do not say it."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["right", "left"]

WRIST, INDEX, LITTLE, THUMB = 0, 1, 7, 13
"""Joints: the wrist, and the bases of three fingers."""


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
