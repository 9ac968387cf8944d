"""Bodies or right hands of AMASS-layout files: `.npz` with `poses` `[T, 156]` (SMPL-H), `[T, 165]` (SMPL-X).

Left hands are mirrored into right ones. Files are read without unpickling. In the world of these files z is
up; bodies are returned with y up.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.training.motion.turns import unwrapped
from shared_tmu.training.motion.windows import windows_of

Array = NDArray[np.float64]
_ARMS = {"left": (0, 3, 6, 9, 13, 16, 18, 20), "right": (0, 3, 6, 9, 14, 17, 19, 21)}
"""From the pelvis to the wrist, in SMPL's order of joints."""
_HANDS = {156: (66, 111), 165: (75, 120)}
"""First values of left and right fingers, by the width of `poses`."""
_MIRROR = np.array([1.0, -1.0, -1.0])
_STILL_RAD = 0.02  # hands or bodies that move less than this were not captured
_MIDDLE = slice(9, 12)  # of the first joint of the middle finger, among a hand's values
_Y_UP = Rotation.from_euler("x", -90, degrees=True)
log = logging.getLogger(__name__)


def read_hands(folder: Path, frames: int, fps: float) -> list[Array]:
    """Windows of all moving hands in the files under a folder.

    Args:
        folder: searched with its subfolders.
        frames: length of a window.
        fps: frames per second of the windows.

    Returns:
        Axis-angle of wrist and fingers of right hands, `[frames, 16, 3]` each.

    Raises:
        MissingAssetError: there is no such folder, or no file in it.
        InputError: no hand in the files moves for as long as a window.
    """
    found, count = _all_windows(folder, fps, lambda poses: _hand_windows(poses, frames))
    if not found:
        raise InputError(
            f"none of {count} files in {folder} has a hand that moves for {frames / fps:.1f} s: most of "
            "AMASS was captured without fingers; use its parts that have them, such as GRAB."
        )
    return found


def read_amass_bodies(folder: Path, frames: int, fps: float) -> list[Array]:
    """Windows of all bodies in the files under a folder, shorter clips to and fro.

    Args:
        folder, frames, fps: see `read_hands`.

    Returns:
        Axis-angle of SMPL's 24 joints, `[frames, 24, 3]` each; y is up.

    Raises:
        MissingAssetError: there is no such folder, or no file in it.
        InputError: no file in it can be read, or nobody moves.
    """
    found, count = _all_windows(folder, fps, lambda poses: _body_windows(poses, frames))
    if not found:
        raise InputError(f"none of {count} files in {folder} has a body that moves.")
    return found


def find_files(folder: Path) -> list[Path]:
    """The files under a folder."""
    return sorted(folder.rglob("*.npz")) if folder.is_dir() else []


def _all_windows(folder: Path, fps: float, cut: Callable[[Array], list[Array]]) -> tuple[list[Array], int]:
    """What is cut from the files under a folder, at so many frames per second, and their number."""
    paths = find_files(folder)
    if not paths:
        raise MissingAssetError(
            f"{folder} has no .npz files: amass=FOLDER names a folder of AMASS's SMPL-H or SMPL-X files."
        )
    found: list[Array] = []
    for path in paths:
        try:
            found += cut(_resampled(*_read(path), fps))
        except InputError as error:
            log.warning("%s", error)
    return found, len(paths)


def _read(path: Path) -> tuple[Array, float]:
    """`poses` and frame rate of a file.

    Raises:
        InputError: it is damaged or has another layout.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = set(archive.files)
            rate = next((n for n in ("mocap_framerate", "mocap_frame_rate") if n in names), None)
            if "poses" not in names or rate is None:
                raise InputError(f"{path} has no poses with a frame rate; it is left out.")
            poses, fps = np.asarray(archive["poses"], np.float64), float(archive[rate])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); it is left out.") from error
    good = poses.ndim == 2 and poses.shape[1] in _HANDS and np.isfinite(poses).all()
    if not good or not 1.0 <= fps <= 1000.0:
        raise InputError(f"{path} has poses {poses.shape} at {fps} frames/s; it is left out.")
    return poses, fps


def _resampled(poses: Array, rate: float, fps: float) -> Array:
    times = np.arange(int((len(poses) - 1) / rate * fps) + 1) / fps
    rows = np.clip(np.round(times * rate).astype(int), 0, len(poses) - 1)
    found: Array = poses[rows]
    return found


def _hand_windows(poses: Array, frames: int) -> list[Array]:
    found = []
    for side, start in zip(_ARMS, _HANDS[poses.shape[1]], strict=True):
        hand = _hand(poses, side, start)
        for first in range(0, len(hand) - frames + 1, frames):
            window = hand[first : first + frames]
            if np.ptp(window[:, 1:], axis=0).max() > _STILL_RAD:
                found.append(window)
    return found


def _body_windows(poses: Array, frames: int) -> list[Array]:
    middles = [poses[:, start : start + 45][:, _MIDDLE] for start in _HANDS[poses.shape[1]]]
    body = np.concatenate((poses[:, :66], *middles), axis=1).reshape(len(poses), 24, 3)
    body[:, 0] = (_Y_UP * Rotation.from_rotvec(body[:, 0])).as_rotvec()
    body = np.stack([unwrapped(turns) for turns in body.swapaxes(0, 1)], axis=1)
    return [one for one in windows_of(body, frames) if np.ptp(one, axis=0).max() > _STILL_RAD]


def _hand(poses: Array, side: str, start: int) -> Array:
    """Wrist in the frame of the world, and fingers, `[T, 16, 3]`, as a right hand."""
    turn = Rotation.identity(len(poses))
    for joint in _ARMS[side]:
        turn = turn * Rotation.from_rotvec(poses[:, 3 * joint : 3 * joint + 3])
    fingers = poses[:, start : start + 45].reshape(-1, 15, 3)
    hand = np.concatenate((unwrapped(turn.as_rotvec())[:, None], fingers), axis=1)
    return np.asarray(hand * _MIRROR if side == "left" else hand)
