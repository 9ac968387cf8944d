"""Body clips in the layout of the `pybullet` package (`humanoid3d_walk.txt`), retargeted to SMPL-X.

Such a file is JSON with `Frames`, 44 numbers each: seconds until the next frame, place of the root, and
rotations relative to the parent, quaternions (w, x, y, z) or, for knees and elbows, angles about z.

Convention: in these files a person at rest lets the arms hang, x is forward, y up and z to the right. Poses
that are returned are SMPL's: x left, y up, z forward, arms sideways at rest.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from shared_tmu.errors import InputError, MissingAssetError, MissingDependencyError
from shared_tmu.training.motion.turns import unwrapped
from shared_tmu.training.motion.windows import windows_of

Array = NDArray[np.float64]
PYBULLET = "pybullet"
"""In place of a folder: the clips of the installed package, whose data files alone are read."""

WIDTH = 44
_JOINTS = ("chest", "neck", "right_hip", "right_knee", "right_ankle", "right_shoulder", "right_elbow",
           "left_hip", "left_knee", "left_ankle", "left_shoulder", "left_elbow")  # fmt: skip
_HINGES = frozenset(("right_knee", "right_elbow", "left_knee", "left_elbow"))
_ABOVE = {"right_hip": "root", "right_knee": "right_hip", "right_ankle": "right_knee", "left_hip": "root",
          "left_knee": "left_hip", "left_ankle": "left_knee", "chest": "root", "neck": "chest",
          "right_shoulder": "chest", "right_elbow": "right_shoulder", "left_shoulder": "chest",
          "left_elbow": "left_shoulder"}  # fmt: skip
LIMBS: Mapping[int, tuple[str, int]] = MappingProxyType({
    1: ("left_hip", 4), 2: ("right_hip", 5), 4: ("left_knee", 7), 5: ("right_knee", 8),
    16: ("left_shoulder", 18), 17: ("right_shoulder", 19), 18: ("left_elbow", 20), 19: ("right_elbow", 21),
})  # fmt: skip
"""SMPL's joints at upper ends of bones that hang down at rest there: their joint, and SMPL's lower end."""
_SPINE, _NECK, _FEET = (3, 6, 9), (12, 15), {7: "left_ankle", 8: "right_ankle"}
_LARGEST_BYTES, _MOST_FRAMES = 1 << 26, 10**5
_TO_SMPL = Rotation.from_matrix([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HumanoidClip:
    """Rotations of a person in T frames, in SMPL's axes.

    Attributes:
        times_s: `[T]`, from 0.
        local: by joint, relative to the joint above; `root` relative to the world.
    """

    times_s: Array
    local: Mapping[str, Rotation]

    def at(self, times_s: Array) -> HumanoidClip:
        """The same motion at other times."""
        between = {name: Slerp(self.times_s, turns)(times_s) for name, turns in self.local.items()}
        return HumanoidClip(times_s, between)

    def turned(self, joint: str) -> Rotation:
        """Rotations of a joint relative to the world."""
        own = self.local[joint]
        return own if joint == "root" else self.turned(_ABOVE[joint]) * own


def find_clips(place: str) -> list[Path]:
    """The files of a folder, or of the installed package with `pybullet`; dogs of the package are left out.

    Raises:
        MissingDependencyError: the package is not installed.
        MissingAssetError: there is no such folder, or no such file in it.
    """
    folder = Path(place)
    if place == PYBULLET:
        spec = find_spec("pybullet_data")
        if spec is None or not spec.submodule_search_locations:
            raise MissingDependencyError(
                "humanoid=pybullet was asked for, but that package is not installed: pip install "
                "'shared_tmu[motion]' (a download of 100 MB), or name a folder of such files."
            )
        folder = Path(spec.submodule_search_locations[0]) / "data" / "motions"
    found = sorted(path for path in folder.rglob("*.txt") if "laikago" not in path.name)
    if not found:
        raise MissingAssetError(
            f"{folder} has no motion files: humanoid=FOLDER names a folder of .txt files like "
            "humanoid3d_walk.txt of the pybullet package, or use humanoid=pybullet."
        )
    return found


def read_clip(path: Path) -> HumanoidClip:
    """Read a file.

    Raises:
        InputError: it is damaged or has another layout.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError(f"more than {_LARGEST_BYTES >> 20} MB")
        rows = json.loads(path.read_text("utf-8"))["Frames"]
        frames = np.array(rows, np.float64)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); it is left out.") from error
    if frames.ndim != 2 or frames.shape[1] != WIDTH or not 2 <= len(frames) <= _MOST_FRAMES:
        raise InputError(
            f"{path} has frames of shape {list(frames.shape)}, expected at least two of {WIDTH} numbers; it "
            "is left out."
        )
    if not np.isfinite(frames).all() or not (frames[:-1, 0] > 0).all():
        raise InputError(f"{path} has frames without a duration, or NaN; it is left out.")
    times_s = np.concatenate(([0.0], np.cumsum(frames[:-1, 0])))
    local, column = {"root": _turns(frames[:, 4:8], path)}, 8
    for joint in _JOINTS:
        if joint in _HINGES:
            local[joint] = _in_smpl(Rotation.from_rotvec(frames[:, column, None] * (0.0, 0.0, 1.0)))
        else:
            local[joint] = _turns(frames[:, column : column + 4], path)
        column += 1 if joint in _HINGES else 4
    return HumanoidClip(times_s, local)


def retarget(clip: HumanoidClip, rest: Array) -> Array:
    """The same motion of an SMPL body: axis-angle of its 24 joints, `[T, 24, 3]`.

    Upper arms, forearms, thighs and shins point where those of the clip point, and turn about themselves as
    they do from the smallest turn that brings SMPL's bone at rest onto the clip's; one joint's turn of the
    trunk is spread evenly over the spine, one of the neck over neck and head.

    Args:
        clip: the motion.
        rest: SMPL's joints at rest, `[24, 3]` or more.
    """
    count = len(clip.times_s)
    local = [Rotation.identity(count) for _ in range(24)]
    local[0] = clip.local["root"]
    for chain, joint in ((_SPINE, "chest"), (_NECK, "neck")):
        share = Rotation.from_rotvec(clip.local[joint].as_rotvec() / len(chain))
        for one in chain:
            local[one] = share
    above = dict.fromkeys((1, 2), clip.turned("root")) | dict.fromkeys((16, 17), clip.turned("chest"))
    for upper, (name, end) in LIMBS.items():
        turned = clip.turned(name) * _onto_down(rest[end] - rest[upper])
        local[upper] = above[upper].inv() * turned
        above[end] = turned
    for foot, name in _FEET.items():
        local[foot] = above[foot].inv() * clip.turned(name)
    return np.stack([unwrapped(one.as_rotvec()) for one in local], axis=1)


def read_bodies(place: str, frames: int, fps: float, rest: Array) -> list[Array]:
    """Windows of the clips of `find_clips`; a clip that is shorter than a window runs to and fro.

    Args:
        place: `pybullet`, or a folder.
        frames: length of a window.
        fps: frames per second of the windows.
        rest: see `retarget`.

    Returns:
        Axis-angle of SMPL's joints, `[frames, 24, 3]` each; y is up.

    Raises:
        TMUError: there are no such files, or none can be read.
    """
    found: list[Array] = []
    paths = find_clips(place)
    for path in paths:
        try:
            clip = read_clip(path)
        except InputError as error:
            log.warning("%s", error)
            continue
        even = np.arange(math.floor(clip.times_s[-1] * fps + 1e-6) + 1) / fps
        pose = retarget(clip.at(np.minimum(even, clip.times_s[-1])), rest)
        found += windows_of(pose, frames)
    if not found:
        raise InputError(f"none of {len(paths)} files in {paths[0].parent} is a motion of a person.")
    return found


def _turns(quaternions: Array, path: Path) -> Rotation:
    if not (np.linalg.norm(quaternions, axis=1) > 1e-3).all():
        raise InputError(f"{path} has a rotation without a length; it is left out.")
    return _in_smpl(Rotation.from_quat(quaternions[:, [1, 2, 3, 0]]))


def _in_smpl(turns: Rotation) -> Rotation:
    return _TO_SMPL * turns * _TO_SMPL.inv()


def _onto_down(bone: Array) -> Rotation:
    """The smallest rotation that brings a bone to where it hangs down."""
    start, end = bone / np.linalg.norm(bone), np.array([0.0, -1.0, 0.0])
    axis, cos = np.cross(start, end), float(start @ end)
    sin = float(np.linalg.norm(axis))
    if sin < 1e-9:
        return Rotation.from_rotvec((0.0, 0.0, 0.0) if cos > 0 else (0.0, 0.0, math.pi))
    return Rotation.from_rotvec(axis / sin * math.atan2(sin, cos))
