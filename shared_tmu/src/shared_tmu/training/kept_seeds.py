"""Seeds from which the bundled sets are drawn, so that no training and no choice may use them."""

from __future__ import annotations

from shared_tmu.errors import ConfigError
from shared_tmu.synth.evalset import CALIB_SEED, CLIPS_SEED, EVAL_SEED

KEPT = (EVAL_SEED, CALIB_SEED, CLIPS_SEED)


def refuse_kept(seed: int, use: str) -> None:
    """Refuse a seed of the bundled sets.

    Args:
        seed: of scenes.
        use: what it is for, as the subject of a sentence.

    Raises:
        ConfigError: it is one of theirs.
    """
    if seed in KEPT:
        raise ConfigError(
            f"{use} seed {seed}, from which the bundled sets for evaluation and calibration are drawn: give "
            "it another seed."
        )
