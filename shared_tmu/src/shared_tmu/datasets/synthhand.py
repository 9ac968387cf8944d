"""SynthHand-Eval, -Varied, -Other, -Calib and -Clips: our own renders in FreiHAND's layout, rendered on first
use into a cache folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np

from shared_tmu.datasets.annotations import read_json_array
from shared_tmu.datasets.base import SetOptions
from shared_tmu.datasets.freihand import read_freihand_layout
from shared_tmu.datasets.hand_clips import HandClipSet
from shared_tmu.datasets.hand_meshes import HandMeshSet
from shared_tmu.errors import InputError

OFFICIAL_COUNT = 1000
CALIB_COUNT = 400
OTHER_NAME, OTHER_COUNT = "synthhand-other", 200
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder for generated data: `$SHARED_TMU_CACHE`, or `shared_tmu` in the user's cache folder."""
    if named := os.environ.get("SHARED_TMU_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "shared_tmu"


def open_synthhand(data_dir: Path) -> HandMeshSet:
    """Open SynthHand-Eval, rendered first if it is not in the cache; `data_dir` is not used.

    Raises:
        InputError: the cache cannot be written to or is damaged.
    """
    del data_dir
    return _opened("synthhand", "SynthHand-Eval", "synthhand_eval", variety=0.0)


def open_synthhand_varied(data_dir: Path) -> HandMeshSet:
    """Open SynthHand-Varied, the same held-out hands with a photograph-like appearance; see `open_synthhand`.

    Raises:
        InputError: the cache cannot be written to or is damaged.
    """
    del data_dir
    return _opened("synthhand-varied", "SynthHand-Varied", "synthhand_varied", variety=1.0)


def open_synthhand_2(data_dir: Path, options: SetOptions) -> HandMeshSet:
    """Open version 2 of SynthHand-Eval, whose seeds are integers only, and whose pictures are compared with
    the published ones when they are rendered; see `open_synthhand`.

    Raises:
        InputError: as in `open_synthhand`, or this machine draws other scenes than the published ones.
    """
    del data_dir
    names = "synthhand-eval-2", "SynthHand-Eval-2", "synthhand_eval_2"
    return _opened(*names, variety=0.0, version=2).opened_with(options)


def open_synthhand_varied_2(data_dir: Path, options: SetOptions) -> HandMeshSet:
    """Open version 2 of SynthHand-Varied; see `open_synthhand_2`.

    Raises:
        InputError: see `open_synthhand_2`.
    """
    del data_dir
    names = "synthhand-varied-2", "SynthHand-Varied-2", "synthhand_varied_2"
    return _opened(*names, variety=1.0, version=2).opened_with(options)


def open_synthhand_other(data_dir: Path, options: SetOptions) -> HandMeshSet:
    """Open SynthHand-Other, the first scenes of SynthHand-Eval-2 with a hand that no training picture shows.

    The truth is that hand's. SynthHand's shape cannot describe it completely: `facts` state the errors of the
    SynthHand that was fitted to it, in the true pose. See `open_synthhand_2`.

    Raises:
        InputError: see `open_synthhand_2`.
    """
    del data_dir
    from shared_tmu.synth.other_hands import HELD_OUT

    names = OTHER_NAME, "SynthHand-Other", OTHER_NAME.replace("-", "_")
    opened = _opened(*names, variety=0.0, count=OTHER_COUNT, version=2, other=HELD_OUT)
    with _told(names[1], folder := cache_folder() / names[2]):
        how = {"hand": HELD_OUT, **_fit_errors(folder, opened)}
    return replace(opened, how=how).opened_with(options)


def _fit_errors(folder: Path, truth: HandMeshSet) -> dict[str, float]:
    """Errors in millimetres of the SynthHand whose parameters lie beside the truth, as predictions of it."""
    from shared_tmu.metrics.alignments import align_similarity
    from shared_tmu.synth.hand import synth_hand

    hand = synth_hand()
    rows = read_json_array(folder / "evaluation_mano.json", (1, 61), hashlib.sha256())[:, 0].astype("float32")
    fitted = [hand.pose(row[:3], (row[3:48] + hand.mean_pose).reshape(15, 3), row[48:58]) for row in rows]
    out = {}
    for name, found, true in (
        ("fit_pa_mpjpe_mm", [one.keypoints for one in fitted], truth.xyz_m),
        ("fit_pa_mpvpe_mm", [one.vertices for one in fitted], truth.verts_m),
    ):
        away = align_similarity(np.stack(found), true, reflection=False) - true
        out[name] = round(float(1e3 * np.linalg.norm(away, axis=-1).mean()), 2)
    return out


def open_more_synthhand(
    purpose: str, count: int, seed: int, variety: float, options: SetOptions
) -> HandMeshSet:
    """Open further renders, apart from the evaluation sets, rendered first if they are not in the cache.

    Args:
        purpose: their purpose, which is part of their name.
        count: number of pictures.
        seed: selects the sequence of scenes; evaluation sets use `synth.evalset.EVAL_SEED`.
        variety: share of pictures with a photograph-like appearance.
        options: how they are read.

    Raises:
        InputError: as in `open_synthhand`.
    """
    place = f"synthhand_{purpose}_{count}"
    return _opened(f"synthhand-{purpose}", place, place, variety, seed, count).opened_with(options)


def open_synthhand_calib(data_dir: Path) -> HandMeshSet:
    """Open SynthHand-Calib, hands similar to those of SynthHand-Eval but all different, for decisions such as
    which layers to merge; see `open_synthhand`.

    Raises:
        InputError: the cache cannot be written to or is damaged.
    """
    del data_dir
    from shared_tmu.synth.evalset import CALIB_SEED

    return _opened("synthhand-calib", "SynthHand-Calib", "synthhand_calib", 0.0, CALIB_SEED, CALIB_COUNT)


def _opened(
    name: str,
    title: str,
    folder_name: str,
    variety: float,
    seed: int | None = None,
    count: int | None = None,
    version: int = 1,
    other: str | None = None,
) -> HandMeshSet:
    from shared_tmu.synth import write_eval_set
    from shared_tmu.synth.evalset import EVAL_SEED
    from shared_tmu.synth.published import check_published

    check = partial(check_published, name, title) if version > 1 else None
    count = OFFICIAL_COUNT if count is None else count
    folder = cache_folder() / folder_name
    _log.info("%s: %d pictures in %s, rendered now if they do not exist.", title, count, folder)
    with _told(title, folder):
        seed = EVAL_SEED if seed is None else seed
        write_eval_set(folder, count, seed, variety, version, check, other)
        return read_freihand_layout(folder, name, count)


def open_synthhand_clips(data_dir: Path) -> HandClipSet:
    """Open SynthHand-Clips, held-out clips of moving hands; see `open_synthhand`.

    Raises:
        InputError: the cache cannot be written to or is damaged.
    """
    del data_dir
    from shared_tmu.synth.clip_set import CLIPS, FRAMES, write_clip_set
    from shared_tmu.synth.motion import FPS

    folder, title = cache_folder() / "synthhand_clips", "SynthHand-Clips"
    _log.info("%s: %d clips in %s, rendered now if they do not exist.", title, CLIPS, folder)
    with _told(title, folder):
        write_clip_set(folder)
        read = read_freihand_layout(folder, "synthhand-clips", CLIPS * FRAMES)
        digest = hashlib.sha256(read.fingerprint.encode())
        boxes = read_json_array(folder / "evaluation_box.json", (4,), digest)
        clips = read_json_array(folder / "evaluation_clip.json", (1,), digest)
        if not len(read) == len(boxes) == len(clips):
            raise InputError(f"the annotations in {folder} have different numbers of frames.")
        as_read = {field.name: getattr(read, field.name) for field in fields(read)}
        names = tuple(
            f"clip{int(clip):02d}-{path.stem}" for (clip,), path in zip(clips, read.images, strict=True)
        )
        own = {"fingerprint": digest.hexdigest(), "boxes_xyxy": boxes, "sample_ids": names}
        return HandClipSet(**{**as_read, **own}, clip_of=clips[:, 0].astype("int64"), fps=FPS)


@contextmanager
def _told(title: str, folder: Path) -> Iterator[None]:
    """Errors of the cache as sentences.

    Raises:
        InputError: it cannot be written to or is damaged.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{title} cannot be saved in {folder} ({reason}): name another folder with SHARED_TMU_CACHE."
        ) from error
    except InputError as error:
        raise InputError(
            f"{error} This set is generated: delete {folder} and run the command again to render it anew."
        ) from error
