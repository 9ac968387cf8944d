"""The settings of a run, kept beside its checkpoint: it goes on with the same ones only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared_tmu.errors import CheckpointError
from shared_tmu.files import write_text

RECIPE = "recipe.json"
WEIGHTS = ("trunk", "start")
"""Names of the digests of the weights for which, or from which, a run trains."""


def keep_recipe(path: Path, facts: Mapping[str, Any], *, is_new: bool) -> None:
    """Write a run's settings beside its checkpoint, or see that they are those of the run that continues.

    Args:
        path: of the settings.
        facts: plain values by name.
        is_new: whether there is no run yet.

    Raises:
        CheckpointError: a setting has another value, or the settings of the run cannot be read.
    """
    if is_new:
        write_text(path, json.dumps(facts, indent=1) + "\n")
        return
    if not path.exists():
        raise CheckpointError(
            f"{path.parent} holds a run without {path.name}, so its settings are unknown: choose another "
            "folder with out=."
        )
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: choose another folder with out=.") from error
    if younger := next((name for name in facts if name not in before), None):
        raise CheckpointError(
            f"{path.parent} holds a run of an older version, before there was {younger}: choose another "
            "folder with out=."
        )
    changed = next((name for name in facts if before[name] != facts[name]), None)
    if changed in WEIGHTS:
        raise CheckpointError(
            f"{path.parent} holds a run for other weights: choose another folder with out=."
        )
    if changed is not None:
        raise CheckpointError(
            f"{path.parent} holds a run with {changed}={before[changed]}, but {facts[changed]} was asked "
            "for: choose another folder with out=, or that value."
        )
