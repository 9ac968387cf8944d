"""No training uses scenes of the bundled sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared_tmu.errors import ConfigError
from shared_tmu.synth.clip_set import CLIPS_SEED
from shared_tmu.synth.evalset import CALIB_SEED, EVAL_SEED
from shared_tmu.training.learned.recipe import LearnedRecipe
from shared_tmu.training.motion.recipe import MotionRecipe, MotionStage
from shared_tmu.training.recipes import PublishedRecipe, check_stages
from shared_tmu.training.settings import Setting, Stage

PLACES: dict[str, Any] = {"out": Path("out"), "cache": Path("cache")}
LEARNED = {"method": "dtem", "r": "8x16", "count": 100, "val_count": 10, "images": 100, "batch_size": 10}
PUBLISHED = {"count": 100, "steps": 1, "batch_size": 10, "lr": 1e-4, "weight_decay": 0.0}
KEPT = pytest.mark.parametrize("seed", [EVAL_SEED, CALIB_SEED, CLIPS_SEED])


def refused(name: str) -> Any:
    told = "from which the bundled sets for evaluation and calibration are drawn: give it another seed"
    return pytest.raises(ConfigError, match=f"{name} .*{told}")


@KEPT
def test_recipes_refuse_them(seed: int) -> None:
    for name in ("data_seed", "val_seed"):
        seeds = {"data_seed": 1, "val_seed": 2, name: seed}
        with refused(name):
            MotionRecipe(**PLACES, vae=MotionStage(1), denoiser=MotionStage(1), **seeds)
        with refused(name):
            LearnedRecipe(**PLACES, **LEARNED, **seeds)
    with refused("data_seed"):
        PublishedRecipe(**PLACES, **PUBLISHED, data_seed=seed)


@KEPT
def test_stages_and_their_validation_refuse_them(seed: int) -> None:
    with refused("stage 'one' trains on"):
        check_stages([Stage("one", 1, 100, seed, 100)], Setting(**PLACES))
    with refused("validation uses"):
        check_stages([Stage("one", 1, 100, 3, 100)], Setting(**PLACES, val_seed=seed))
