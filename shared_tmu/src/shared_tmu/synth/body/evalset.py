"""SynthBody-Eval and -Varied: held-out renders in EHF's layout, so that one reader serves all."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.files import replacing, write_text
from shared_tmu.synth.body.generator import draw_body
from shared_tmu.synth.body.placing import frame_body, place_body
from shared_tmu.synth.body.scene import BodyScene, sample_body_scene
from shared_tmu.synth.evalset import DRAWS, EVAL_SEED, LOOKS_VERSION, VERSION, Check, holds
from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import jpeg

log = logging.getLogger(__name__)
HEIGHT, WIDTH = 512, 384
MARKER, RECIPE, BOXES = "synthbody_eval.json", "recipe.json", "EHF.json"
CAMERAS = "cameras.json"
"""A file that EHF does not have: focal length and principal point (x, y) of every picture, pixels."""


def write_body_eval_set(
    folder: Path,
    count: int = 1000,
    seed: int = EVAL_SEED,
    variety: float = 0.0,
    version: int = VERSION,
    check: Check | None = None,
) -> Path:
    """Make the evaluation set unless it exists; after an interruption it continues where it stopped.

    Several processes may make the same set at once, as for SynthHand-Eval.

    Writes `NNN_img.jpg` (512x384), `NNN_align.ply` (10475 vertices in the camera's frame, metres: x right,
    y down, z forward), `EHF.json` with the boxes of the vertices that are in the picture, and `CAMERAS`.

    Args:
        folder: where the layout starts.
        count: number of pictures.
        seed: names the sequence of scenes.
        variety: share of pictures with a photograph-like appearance, see `Difficulty`.
        version: of the set, see `evalset.DRAWS`.
        check: sees all pictures, in order, before the set counts as made, and may raise.

    Returns:
        `folder`.
    """
    about: dict[str, Any] = {"set": "SynthBody-Eval", "version": version, "seed": seed, "count": count}
    if variety:
        about |= {"variety": variety, "looks": LOOKS_VERSION}
    difficulty = Difficulty(variety=variety)
    scene_of = partial(sample_body_scene, seed, difficulty=difficulty, draws=DRAWS[version])
    if holds(folder / MARKER, about):
        _write_cameras(folder, about, scene_of)  # sets of earlier versions have none
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    log.info("drawing %d pictures into %s", count, folder)
    if not holds(folder / RECIPE, about):
        (folder / MARKER).unlink(missing_ok=True)  # an interruption must not leave it beside other pictures
        for stale in (*folder.glob("[0-9]*_img.jpg"), *folder.glob("[0-9]*_align.ply")):
            stale.unlink(missing_ok=True)
        write_text(folder / RECIPE, json.dumps(about))
    _draw_missing(folder, count, scene_of)
    if check is not None:
        check([folder / _names(index)[0] for index in range(count)])
    write_text(folder / BOXES, json.dumps(_boxes(count, scene_of)))
    _write_cameras(folder, about, scene_of)
    write_text(folder / MARKER, json.dumps(about))
    return folder


def _write_cameras(folder: Path, about: Mapping[str, Any], scene_of: Callable[[int], BodyScene]) -> None:
    """Write `CAMERAS` unless it exists for this recipe."""
    try:
        if json.loads((folder / CAMERAS).read_bytes())["recipe"] == about:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = []
    for scene in map(scene_of, range(about["count"])):
        camera = frame_body(scene, place_body(scene), WIDTH, HEIGHT)
        found.append([camera.focal_px, *camera.centre_px])
    write_text(folder / CAMERAS, json.dumps({"recipe": about, "cameras": found}))


def _names(index: int) -> tuple[str, str]:
    return f"{index + 1:03d}_img.jpg", f"{index + 1:03d}_align.ply"


def _draw_missing(folder: Path, count: int, scene_of: Callable[[int], BodyScene]) -> None:
    """Draw missing pictures, and check again: another process that started over may have removed some."""

    def missing() -> list[int]:
        return [i for i in range(count) if not all((folder / name).exists() for name in _names(i))]

    while todo := missing():
        for index in todo:
            _write_sample(folder, index, scene_of(index))
            if (index + 1) % 100 == 0:
                log.info("%d of %d pictures", index + 1, count)


def _write_sample(folder: Path, index: int, scene: BodyScene) -> None:
    picture = draw_body(scene, WIDTH, HEIGHT)
    files = zip(_names(index), (jpeg(picture.image), ply_bytes(picture.body.vertices)), strict=True)
    for name, data in files:
        with replacing(folder / name) as beside:
            beside.write_bytes(data)


def ply_bytes(vertices: NDArray[np.float32]) -> bytes:
    """A binary PLY file of points `[V, 3]`."""
    rows = "".join(f"property float {axis}\n" for axis in "xyz")
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n{rows}end_header\n"
    return head.encode() + np.ascontiguousarray(vertices, "<f4").tobytes()


def _boxes(count: int, scene_of: Callable[[int], BodyScene]) -> dict[str, list[dict[str, object]]]:
    """COCO-style pictures and boxes (x, y, width, height) under the names that EHF's box file uses."""
    images: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for index in range(count):
        name = _names(index)[0]
        images.append({"id": index, "file_name": name, "height": HEIGHT, "width": WIDTH})
        boxes.append({"id": index, "image_id": index, "body_bbox": _box(scene_of(index))})
    return {"images": images, "annotations": boxes}


def _box(scene: BodyScene) -> list[float]:
    body = place_body(scene)
    points = frame_body(scene, body, WIDTH, HEIGHT).project(body.vertices)
    last = np.array([WIDTH - 1.0, HEIGHT - 1.0])
    low, high = np.clip(points.min(0), 0.0, last), np.clip(points.max(0), 0.0, last)
    return [round(float(value), 3) for value in (*low, *(high - low))]
