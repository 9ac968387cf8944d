"""SynthBody-Eval, -Varied and -Calib: our own renders in EHF's layout, rendered on first use into a cache
folder.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models import load_smplx
from shared_tmu.datasets.base import SetOptions
from shared_tmu.datasets.body_meshes import BodyMeshSet
from shared_tmu.datasets.body_parts import parts_by_weight
from shared_tmu.datasets.ehf import read_ehf_layout
from shared_tmu.datasets.synthhand import cache_folder
from shared_tmu.errors import InputError

OFFICIAL_COUNT = 1000
CALIB_COUNT = 200
_log = logging.getLogger(__name__)


def open_synthbody(data_dir: Path, options: SetOptions) -> BodyMeshSet:
    """Open SynthBody-Eval, rendered first if it is not in the cache; `data_dir` is not used.

    Meshes are SynthBody's, in the camera's frame; the vertices of hands and face are selected by its skinning
    weights.

    Raises:
        InputError: the cache cannot be written to or is damaged, or another body model is asked for.
    """
    del data_dir
    return _opened("synthbody", "SynthBody-Eval", "synthbody_eval", options, variety=0.0)


def open_synthbody_varied(data_dir: Path, options: SetOptions) -> BodyMeshSet:
    """Open SynthBody-Varied, the same held-out people with a photograph-like appearance; see
    `open_synthbody`.

    Raises:
        InputError: see `open_synthbody`.
    """
    del data_dir
    return _opened("synthbody-varied", "SynthBody-Varied", "synthbody_varied", options, variety=1.0)


def open_synthbody_calib(data_dir: Path, options: SetOptions) -> BodyMeshSet:
    """Open SynthBody-Calib, people similar to those of SynthBody-Eval but all different, for decisions such
    as which layers to merge; see `open_synthbody`.

    Raises:
        InputError: see `open_synthbody`.
    """
    del data_dir
    from shared_tmu.synth.evalset import CALIB_SEED

    more = (0.0, CALIB_SEED, CALIB_COUNT)
    return _opened("synthbody-calib", "SynthBody-Calib", "synthbody_calib", options, *more)


def open_more_synthbody(
    purpose: str, count: int, seed: int, variety: float, options: SetOptions
) -> BodyMeshSet:
    """Open further renders, apart from the evaluation sets; see `open_more_synthhand`.

    Raises:
        InputError: see `open_synthbody`.
    """
    place = f"synthbody_{purpose}_{count}"
    return _opened(f"synthbody-{purpose}", place, place, options, variety, seed, count)


def _opened(
    name: str,
    title: str,
    folder_name: str,
    options: SetOptions,
    variety: float,
    seed: int | None = None,
    count: int | None = None,
) -> BodyMeshSet:
    from shared_tmu.synth.body import write_body_eval_set
    from shared_tmu.synth.evalset import EVAL_SEED

    if options.body_path is not None:
        raise InputError(
            f"{title} shows the bundled SynthBody; a model with {options.body_path.name} predicts "
            "other vertices. Leave --smplx_path out, or choose --dataset ehf."
        )
    count = OFFICIAL_COUNT if count is None else count
    folder = cache_folder() / folder_name
    _log.info("%s: %d pictures in %s, rendered now if they do not exist.", title, count, folder)
    try:
        seed = EVAL_SEED if seed is None else seed
        write_body_eval_set(folder, count, seed, variety)
        body = load_smplx()
        how = {"parts": "by skinning weights"}
        opened = read_ehf_layout(folder, name, parts_by_weight(body), body.faces, np.eye(3), count, how)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{title} cannot be saved in {folder} ({reason}): name another folder with SHARED_TMU_CACHE."
        ) from error
    except InputError as error:
        raise InputError(
            f"{error} This set is generated: delete {folder} and run the command again to render it anew."
        ) from error
    return replace(opened, projections=_projections(folder, opened.images)).opened_with(options)


def _projections(folder: Path, images: Sequence[Path]) -> NDArray[np.float64]:
    """Projection matrices of the pictures' cameras, `[N, 3, 4]`."""
    from shared_tmu.synth.body.evalset import CAMERAS

    cameras = json.loads((folder / CAMERAS).read_bytes())["cameras"]
    numbers = [int(image.name.partition("_")[0]) - 1 for image in images]
    return np.array([[[f, 0, x, 0], [0, f, y, 0], [0, 0, 1, 0]] for f, x, y in (cameras[i] for i in numbers)])
