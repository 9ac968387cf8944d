"""Pictures to look at."""

from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).resolve().parents[3] / "assets" / "samples"


IMAGE = np.zeros((100, 200, 3), np.uint8)


HAND = np.array(
    [[0, 0], [8, -4], [14, -10], [18, -16], [22, -20], [8, -30], [9, -42], [10, -50], [10, -57], [0, -32],
     [0, -46], [0, -55], [0, -63], [-7, -30], [-8, -43], [-9, -51], [-9, -58], [-13, -26], [-16, -35],
     [-18, -41], [-19, -46]],
    float,
)  # fmt: skip
