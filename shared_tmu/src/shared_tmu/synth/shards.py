"""Training pictures on disk: shards of network crops with their labels, made once, read in any order.

A shard is an uncompressed `.npz` of `SHARD` consecutive scenes of one seed; a finished shard is never
rewritten, so making a set can be stopped and resumed, or split over processes, at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import ConfigError
from shared_tmu.files import replacing
from shared_tmu.synth.generator import DrawnHand, draw
from shared_tmu.synth.scene import Difficulty, sample_scene

log = logging.getLogger(__name__)
SHARD = 500
CROP, LEFT, RIGHT = 256, 32, 224  # the network drops 32 columns on each side
CELL = 4
CANONICAL_SCALE_M = 0.14  # int8 labels span this on either side of zero
DEPTH_SCALE_M = 0.20
FORMAT = 2  # changes when equal scenes give other pictures or labels
Labels = dict[str, NDArray[np.generic]]
Record = tuple[bytes, Labels]  # a picture as a JPEG file, and its labels


def cell_labels(picture: DrawnHand) -> Labels:
    """Dense labels at every fourth pixel of the 256x192 network input: part, canonical place, depth.

    Patch (r, c) of a ViT with kernel 16 and padding 2 covers pixels 16r-2 to 16r+13, so its sixteen cells are
    centred on pixels 16r+4i, which are the ones sampled: `[64, 48]`.
    """
    seen = slice(LEFT, RIGHT)
    dense = picture.part[:, seen], picture.canonical[:, seen], picture.depth[:, seen]
    return dense_cells(*dense, CANONICAL_SCALE_M, DEPTH_SCALE_M)


def dense_cells(
    part: NDArray[np.uint8],
    canonical: NDArray[np.float32],
    depth: NDArray[np.float32],
    canonical_scale_m: float,
    depth_scale_m: float,
) -> Labels:
    """Every fourth pixel of labels `[H, W]`, `[H, W, 3]` and `[H, W]`; lengths in 127ths of their scale."""
    cells = (slice(None, None, CELL), slice(None, None, CELL))
    return {
        "part": part[cells],
        "canonical": np.round(127 * np.clip(canonical[cells] / canonical_scale_m, -1, 1)).astype(np.int8),
        "depth": np.round(127 * np.clip(depth[cells] / depth_scale_m, -1, 1)).astype(np.int8),
    }


def make_record(seed: int, index: int, difficulty: Difficulty) -> Record:
    """One training sample: JPEG bytes of the 256x192 input, and its labels.

    Returns:
        The bytes, and what `cell_labels` gives with `root` `[3]` and `fingers` `[15, 3]` in radians, `betas`
        `[10]`, `keypoints_3d` `[21, 3]` in metres (camera frame), `keypoints_2d` `[21, 2]` in crops about the
        middle, and `focal_px`.
    """
    scene = sample_scene(seed, index, difficulty)
    if scene.is_varied:  # nothing outside the network's columns is drawn
        picture, left = draw(scene, RIGHT - LEFT, CROP), LEFT
        data, dense = jpeg(picture.image), (picture.part, picture.canonical, picture.depth)
        labels = dense_cells(*dense, CANONICAL_SCALE_M, DEPTH_SCALE_M)
    else:
        picture, left = draw(scene), 0
        data, labels = jpeg(picture.image[:, LEFT:RIGHT]), cell_labels(picture)
    labels["root"], labels["fingers"], labels["betas"] = scene.root, scene.fingers, scene.betas
    labels["keypoints_3d"] = picture.hand.keypoints
    points = picture.camera.project(picture.hand.keypoints) + np.array([left, 0], np.float32)
    labels["keypoints_2d"] = points / CROP - 0.5
    labels["focal_px"] = np.array(picture.camera.focal_px, np.float32)
    return data, labels


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """An RGB picture `[H, W, 3]` as a JPEG file."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


@dataclass(frozen=True)
class Kind:
    """A kind of training pictures.

    Attributes:
        name: begins the names of folders.
        version: changes when equal scenes give other records.
        record: makes one training sample from seed, index and difficulty.
        lacks: settings of `Difficulty` that mean nothing for it.
    """

    name: str
    version: int
    record: Callable[[int, int, Difficulty], Record]
    lacks: tuple[str, ...] = ()


HAND = Kind("synthhand", FORMAT, make_record)


def shard_folder(cache: Path, seed: int, difficulty: Difficulty, kind: Kind = HAND) -> Path:
    """Where the shards of a seed and difficulty live under the cache.

    Raises:
        ConfigError: the difficulty has a setting that this kind of pictures lacks.
    """
    if asked := next((name for name in kind.lacks if getattr(difficulty, name)), None):
        raise ConfigError(
            f"{asked}={getattr(difficulty, asked):g} was asked for, but {kind.name} has no such pictures, "
            "only hands have: leave it out."
        )
    how = {key: float(value) for key, value in asdict(difficulty).items()}  # 90 and 90.0 are one folder
    for younger in ("variety", "alike", "other_hand"):
        if not how[younger]:
            del how[younger]  # such shards are older than it is
    text = json.dumps([kind.version, how], sort_keys=True)
    return cache / f"{kind.name}-{seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def write_shard(folder: Path, seed: int, number: int, difficulty: Difficulty, kind: Kind = HAND) -> Path:
    """Make shard `number` unless it is there undamaged; it appears whole or not at all."""
    path = folder / f"{number:05d}.npz"
    if is_there(path):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    records = [kind.record(seed, number * SHARD + i, difficulty) for i in range(SHARD)]
    arrays = {key: np.stack([labels[key] for _, labels in records]) for key in records[0][1]}
    arrays["jpeg"] = np.frombuffer(b"".join(data for data, _ in records), np.uint8)
    arrays["end"] = np.cumsum([len(data) for data, _ in records]).astype(np.int64)
    with replacing(path) as beside:
        np.savez(beside, **arrays)
    return path


def is_there(path: Path) -> bool:
    """Whether a shard is there; a damaged one is removed with a warning, so that it is drawn again."""
    if not path.exists():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # compares the checksum of every array
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        damaged = str(error)
    if damaged is None:
        return True
    log.warning("%s is damaged (%s): it is made again.", path, damaged)
    path.unlink()
    return False


def make_shards(
    cache: Path, seed: int, count: int, difficulty: Difficulty, processes: int = 1, kind: Kind = HAND
) -> Iterator[Path]:
    """Make the missing shards of a set.

    Args:
        cache: folder of all sets.
        seed: names the sequence of scenes.
        count: scenes that are needed; the last shard is filled up.
        difficulty: how difficult they are.
        processes: how many draw at once.
        kind: kind of pictures.

    Yields:
        The path of each shard, in order, as soon as it is there.
    """
    folder = shard_folder(cache, seed, difficulty, kind)
    numbers = range((count + SHARD - 1) // SHARD)
    if processes <= 1:
        yield from (write_shard(folder, seed, number, difficulty, kind) for number in numbers)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(write_shard, folder, seed, number, difficulty, kind) for number in numbers]
        try:
            for job in jobs:
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)  # an error or interruption does not wait for the rest
