"""A small folder in FreiHAND's evaluation layout, made of noise and of the golden hands."""

import json
from pathlib import Path

import cv2
import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "metrics" / "freihand.npz"


def write_freihand(root: Path, count: int = 8, size_px: int = 224) -> Path:
    """Write `count` (at most 8) samples under `root` and return it."""
    golden = np.load(GOLDEN)
    intrinsics = np.array([[480.0, 0, size_px / 2], [0, 480.0, size_px / 2], [0, 0, 1]])
    images = root / "evaluation" / "rgb"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        picture = rng.integers(0, 256, (size_px // 8, size_px // 8, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f"{i:08d}.jpg"), cv2.resize(picture, (size_px, size_px)))
    for name, array in (
        ("K", np.repeat(intrinsics[None], count, axis=0)),
        ("xyz", golden["gt_xyz"][:count]),
        ("verts", golden["gt_verts"][:count]),
    ):
        (root / f"evaluation_{name}.json").write_text(json.dumps(array.tolist()))
    return root
