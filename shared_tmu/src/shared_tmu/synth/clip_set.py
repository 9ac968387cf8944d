"""SynthHand-Clips: held-out clips in the layout of FreiHAND's evaluation split, with boxes and numbers of
clips.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.files import replacing, write_text
from shared_tmu.synth.clips import HandClip, sample_clip
from shared_tmu.synth.evalset import CLIPS_SEED, holds
from shared_tmu.synth.generator import to_bgr
from shared_tmu.synth.motion import FPS

log = logging.getLogger(__name__)
CLIPS, FRAMES = 24, 81
VERSION = 1
LABELS = ("K", "xyz", "verts", "box", "clip")


def write_clip_set(folder: Path, clips: int = CLIPS, frames: int = FRAMES, seed: int = CLIPS_SEED) -> Path:
    """Make the clips unless they exist; after an interruption it continues where it stopped.

    Writes `evaluation/rgb/%08d.jpg`, all clips one after the other, and `evaluation_{K,xyz,verts,box,clip}
    .json`: as `write_eval_set`, and for every frame the box `[4]` in pixels and the number of its clip `[1]`.

    Args:
        folder: where the layout starts.
        clips: number of clips.
        frames: frames of each.
        seed: names the sequence of clips.

    Returns:
        `folder`.
    """
    about = {"set": "SynthHand-Clips", "version": VERSION, "seed": seed, "clips": clips}
    about |= {"frames": frames, "fps": FPS}
    marker, recipe = folder / "synthhand_clips.json", folder / "recipe.json"
    if holds(marker, about):
        return folder
    pictures = folder / "evaluation" / "rgb"
    pictures.mkdir(parents=True, exist_ok=True)
    log.info("drawing %d clips of %d frames into %s", clips, frames, folder)
    if not holds(recipe, about):
        marker.unlink(missing_ok=True)
        for stale in pictures.glob("[0-9]*.jpg"):
            stale.unlink(missing_ok=True)
        write_text(recipe, json.dumps(about))
    labels: dict[str, list[Any]] = {name: [] for name in LABELS}
    for index in range(clips):
        clip = sample_clip(seed, index, frames)
        _draw(clip, [pictures / f"{index * frames + frame:08d}.jpg" for frame in range(frames)])
        for name, rows in _truth(clip, index).items():
            labels[name] += rows
    for name, rows in labels.items():
        write_text(folder / f"evaluation_{name}.json", json.dumps(rows))
    write_text(marker, json.dumps(about))
    return folder


def _draw(clip: HandClip, paths: list[Path]) -> None:
    """Draw the frames that are missing."""
    for frame, path in enumerate(paths):
        if not path.exists():
            _, data = cv2.imencode(".jpg", to_bgr(clip.image(frame)), [cv2.IMWRITE_JPEG_QUALITY, 95])
            with replacing(path) as beside:
                beside.write_bytes(data.tobytes())


def _truth(clip: HandClip, index: int) -> dict[str, list[Any]]:
    """The entries of a clip's frames in each label file."""
    camera, count = clip.camera, len(clip)
    (cx, cy), f = camera.centre_px, camera.focal_px
    return {
        "K": [[[f, 0.0, cx], [0.0, f, cy], [0.0, 0.0, 1.0]]] * count,
        "xyz": [_rounded(hand.keypoints) for hand in clip.hands],
        "verts": [_rounded(hand.vertices) for hand in clip.hands],
        "box": _rounded(clip.boxes(), 3),
        "clip": [[index]] * count,
    }


def _rounded(values: NDArray[Any], decimals: int = 7) -> Any:
    return np.round(values.astype(np.float64), decimals).tolist()
