"""Settings of `train.py` as words of a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared_tmu.training.drawing import Scenes


def scene_overrides(stage: str, sets: Sequence[Scenes]) -> list[str]:
    """Settings that let a stage use these sets of scenes."""
    first, *others = [_scenes(one) for one in sets]
    listed = ", ".join(f"{{{', '.join(f'{k}: {v}' for k, v in one.items())}}}" for one in others)
    return [
        *(f"stages.{stage}.{key}={first[key]}" for key in ("seed", "count")),
        f"++stages.{stage}.difficulty={first['difficulty']}",
        f"++stages.{stage}.also=[{listed}]",
    ]


def quoted(path: Path) -> str:
    """A path as a value on hydra's command line."""
    return "'" + re.sub(r"(\\*)'", lambda found: 2 * found[1] + r"\'", str(path)) + "'"


def _scenes(one: Scenes) -> dict[str, Any]:
    shares = {name: getattr(one.difficulty, name) for name in ("variety", "alike", "other_hand")}
    told = ", ".join(f"{name}: {share:g}" for name, share in shares.items() if share or name == "variety")
    return {"seed": one.seed, "count": one.count, "difficulty": f"{{{told}}}"}
