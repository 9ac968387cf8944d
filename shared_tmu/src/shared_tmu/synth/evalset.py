"""SynthHand-Eval: held-out renders in the layout of FreiHAND's evaluation split, so that one code path reads both."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shared_tmu.synth.generator import Camera, PosedHand, draw, frame_hand, place_hand, to_bgr
from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.scene import Scene, sample_scene

log = logging.getLogger(__name__)
EVAL_SEED = 1_000_003  # never used by training, whose seeds are small
SIZE = 224
SCALE = SIZE / 192  # the network sees this picture as the 192 columns of its crop
VERSION = 1


def write_eval_set(folder: Path, count: int = 1000, seed: int = EVAL_SEED) -> Path:
    """Make the evaluation set unless it is there; an interrupted run goes on where it stopped.

    Writes `evaluation/rgb/%08d.jpg` (224x224) and `evaluation_{K,scale,xyz,verts,mano}.json` as FreiHAND does: metres,
    camera frame (x right, y down, z forward), OpenPose joint order, MANO pose relative to the mean hand pose.

    Args:
        folder: where the layout starts.
        count: number of pictures.
        seed: names the sequence of scenes.

    Returns:
        `folder`.
    """
    about = {"set": "SynthHand-Eval", "version": VERSION, "seed": seed, "count": count}
    marker = folder / "synthhand_eval.json"
    if marker.exists() and json.loads(marker.read_text()) == about:
        return folder
    pictures = folder / "evaluation" / "rgb"
    pictures.mkdir(parents=True, exist_ok=True)
    log.info("drawing %d pictures into %s", count, folder)
    recipe = folder / "recipe.json"
    if not recipe.exists() or json.loads(recipe.read_text()) != about:
        for stale in pictures.glob("*.jpg"):
            stale.unlink()
        _write_json(recipe, about)
    labels: dict[str, list[Any]] = {name: [] for name in ("K", "scale", "xyz", "verts", "mano")}
    for index in range(count):
        scene = sample_scene(seed, index)
        _write_picture(pictures / f"{index:08d}.jpg", scene)
        for name, value in _truth(scene).items():
            labels[name].append(value)
        if (index + 1) % 200 == 0:
            log.info("%d of %d pictures", index + 1, count)
    for name, values in labels.items():
        _write_json(folder / f"evaluation_{name}.json", values)
    _write_json(marker, about)
    return folder


def _write_picture(path: Path, scene: Scene) -> None:
    if path.exists():
        return
    _, data = cv2.imencode(".jpg", to_bgr(draw(scene, SIZE, SIZE, SCALE).image), [cv2.IMWRITE_JPEG_QUALITY, 95])
    beside = path.with_suffix(".tmp")
    beside.write_bytes(data.tobytes())
    beside.replace(path)


def _truth(scene: Scene) -> dict[str, Any]:
    hand: PosedHand = place_hand(scene)
    camera: Camera = frame_hand(scene, hand, SIZE, SIZE, SCALE)
    (cx, cy), f = camera.centre_px, camera.focal_px
    bone = float(np.linalg.norm(hand.keypoints[9] - hand.keypoints[10]))
    pose = np.concatenate([scene.root, scene.fingers.reshape(-1) - synth_hand().mean_pose])
    root_uv = camera.project(hand.keypoints[9])
    mano = np.concatenate([pose, scene.betas, root_uv, [bone]])
    return {
        "K": [[f, 0.0, cx], [0.0, f, cy], [0.0, 0.0, 1.0]],
        "scale": bone,
        "xyz": _rounded(hand.keypoints),
        "verts": _rounded(hand.vertices),
        "mano": [_rounded(mano)],
    }


def _rounded(values: np.ndarray[Any, Any]) -> Any:
    return np.round(values.astype(np.float64), 7).tolist()


def _write_json(path: Path, content: Any) -> None:
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(content))
    beside.replace(path)
