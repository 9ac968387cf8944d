"""SynthHand-Eval: held-out renders in the layout of FreiHAND's evaluation split, so that one reader serves
both."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.files import replacing, write_text
from shared_tmu.synth.chance import NAMED, ONE_GENERATOR, Draws
from shared_tmu.synth.generator import draw, frame_hand, place_hand, shown_hand, to_bgr
from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.other_hands import OtherShape
from shared_tmu.synth.scene import Difficulty, Scene, sample_scene

log = logging.getLogger(__name__)
EVAL_SEED = 1_000_003  # never used by training, whose seeds are small
CLIPS_SEED = 1_000_211  # of the held-out clips
CALIB_SEED = 1_000_033  # neither by training nor by evaluation: decisions are made on these
SIZE = 224
SCALE = SIZE / 192  # the network sees this picture as the 192 columns of its crop
VERSION = 1  # on which the published tables were measured
DRAWS: Mapping[int, Draws] = MappingProxyType({1: ONE_GENERATOR, 2: NAMED})
"""How the scenes of each version of a set are drawn: from version 2 on all seeds are integers, so that other
processors draw the same scenes."""
Check = Callable[[Sequence[Path]], None]
LOOKS_VERSION = 2  # changes when equal varied scenes give other pictures
OTHER_VERSION = 1  # changes when the file of another hand does


def write_eval_set(
    folder: Path,
    count: int = 1000,
    seed: int = EVAL_SEED,
    variety: float = 0.0,
    version: int = VERSION,
    check: Check | None = None,
    other: str | None = None,
) -> Path:
    """Make the evaluation set unless it exists; after an interruption it continues where it stopped.

    Several processes may make the same set at once: the first to finish a picture writes it, and all produce
    the same bytes.

    Writes `evaluation/rgb/%08d.jpg` (224x224) and `evaluation_{K,scale,xyz,verts,mano}.json` as FreiHAND
    does: metres, camera frame (x right, y down, z forward), OpenPose joint order, MANO pose relative to the
    mean hand pose.

    Args:
        folder: where the layout starts.
        count: number of pictures.
        seed: names the sequence of scenes.
        variety: share of pictures with a photograph-like appearance, see `Difficulty`.
        version: of the set, see `DRAWS`.
        check: sees all pictures, in order, before the set counts as made, and may raise.
        other: the hand that is shown in the same scenes, see `other_hands`: its key points and vertices are
            the truth, and MANO's parameters those of the SynthHand that fits it. None shows SynthHand.

    Returns:
        `folder`.
    """
    about: dict[str, Any] = {"set": "SynthHand-Eval", "version": version, "seed": seed, "count": count}
    if variety:
        about |= {"variety": variety, "looks": LOOKS_VERSION}
    if other:
        about |= {"other": other, "shape": OTHER_VERSION}
    scene_of = partial(_scene, seed, Difficulty(variety=variety), DRAWS[version], other)
    marker, recipe = folder / "synthhand_eval.json", folder / "recipe.json"
    if holds(marker, about):
        return folder
    pictures = folder / "evaluation" / "rgb"
    pictures.mkdir(parents=True, exist_ok=True)
    log.info("drawing %d pictures into %s", count, folder)
    if not holds(recipe, about):
        marker.unlink(missing_ok=True)  # or an interruption would leave it beside another recipe's pictures
        for stale in pictures.glob("[0-9]*.jpg"):
            stale.unlink(missing_ok=True)
        write_text(recipe, json.dumps(about))
    _draw_missing(pictures, count, scene_of)
    if check is not None:
        check(_paths(pictures, count))
    truths = [_truth(scene_of(index)) for index in range(count)]
    for name in ("K", "scale", "xyz", "verts", "mano"):
        write_text(folder / f"evaluation_{name}.json", json.dumps([truth[name] for truth in truths]))
    write_text(marker, json.dumps(about))
    return folder


def _scene(seed: int, difficulty: Difficulty, draws: Draws, other: str | None, index: int) -> Scene:
    """A scene of a set; with another hand everything else stays as it is."""
    scene = sample_scene(seed, index, difficulty, draws)
    if other is None:
        return scene
    shown = OtherShape(other)
    return replace(scene, other=shown, betas=shown.fitted_betas())


def holds(path: Path, content: dict[str, Any]) -> bool:
    """Whether a JSON file exists and has this content."""
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == content)
    except FileNotFoundError:
        return False


def _paths(pictures: Path, count: int) -> list[Path]:
    return [pictures / f"{index:08d}.jpg" for index in range(count)]


def _draw_missing(pictures: Path, count: int, scene_of: Callable[[int], Scene]) -> None:
    """Draw missing pictures, and check again: another process that started over may have removed some."""
    paths = _paths(pictures, count)
    while missing := [index for index, path in enumerate(paths) if not path.exists()]:
        for index in missing:
            _write_picture(paths[index], scene_of(index))
            if (index + 1) % 200 == 0:
                log.info("%d of %d pictures", index + 1, count)


def _write_picture(path: Path, scene: Scene) -> None:
    if path.exists():
        return
    image = to_bgr(draw(scene, SIZE, SIZE, SCALE).image)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    with replacing(path) as beside:
        beside.write_bytes(data.tobytes())


def _truth(scene: Scene) -> dict[str, Any]:
    """One entry of each label file."""
    label = place_hand(scene)
    camera, hand = frame_hand(scene, label, SIZE, SIZE, SCALE), shown_hand(scene, label)
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


def _rounded(values: NDArray[np.floating[Any]]) -> Any:
    return np.round(values.astype(np.float64), 7).tolist()
