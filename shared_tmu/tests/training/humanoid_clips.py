"""Body clips in the layout of the pybullet package."""

import json

import numpy as np
from scipy.spatial.transform import Rotation

COLUMNS = {
    "root": slice(4, 8), "chest": slice(8, 12), "neck": slice(12, 16), "right_hip": slice(16, 20),
    "right_knee": slice(20, 21), "right_ankle": slice(21, 25), "right_shoulder": slice(25, 29),
    "right_elbow": slice(29, 30), "left_hip": slice(30, 34), "left_knee": slice(34, 35),
    "left_ankle": slice(35, 39), "left_shoulder": slice(39, 43), "left_elbow": slice(43, 44),
}  # fmt: skip


def still(frames=2, seconds=1 / 30):
    """A person at rest."""
    rows = np.zeros((frames, 44))
    rows[:, 0], rows[:, 2] = seconds, 0.85
    for place in COLUMNS.values():
        if place.stop - place.start == 4:
            rows[:, place.start] = 1.0
    return rows


def turned(rows, joint, turn):
    """The same with a joint turned, in the file's axes; a number for knees and elbows."""
    rows = rows.copy()
    rows[:, COLUMNS[joint]] = turn if np.isscalar(turn) else turn.as_quat()[..., [3, 0, 1, 2]]
    return rows


def moving(frames=40, seconds=1 / 60, seed=0):
    """Smooth random motion of all joints."""
    rng, rows = np.random.default_rng(seed), still(frames, seconds)
    waves = np.sin(np.linspace(0, 6, frames))[:, None]
    for joint, place in COLUMNS.items():
        if place.stop - place.start == 1:
            rows = turned_each(rows, joint, waves * rng.uniform(0.2, 1.0))
        else:
            rows = turned(rows, joint, Rotation.from_rotvec(waves * rng.uniform(-1.0, 1.0, 3)))
    return rows


def turned_each(rows, joint, angles):
    rows = rows.copy()
    rows[:, COLUMNS[joint]] = angles
    return rows


def write(path, rows, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"Loop": "wrap", **more, "Frames": np.asarray(rows).tolist()}))
    return path
