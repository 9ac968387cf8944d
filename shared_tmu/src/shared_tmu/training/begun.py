"""What a stage was begun with: it goes on, and its result is used, with the same settings only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared_tmu.errors import CheckpointError, ConfigError
from shared_tmu.files import write_text
from shared_tmu.training.checkpointing import newest_checkpoint
from shared_tmu.training.ends import DONE, read_end
from shared_tmu.training.run_facts import describe_run
from shared_tmu.training.settings import Setting, Stage

FILE = "stage.json"
RUNS = "runs"
"""Where and with what a stage was trained; a stage may go on elsewhere."""
_START, _TIME = "start", "max_minutes"
_WHILE_TRAINING = ("precision", "val_seed", "val_count")  # of no matter to a stage that is finished


def check_begun(stages: Sequence[Stage], setting: Setting, sizes: Mapping[str, Any]) -> None:
    """See that stages which an earlier run began or finished are those that are asked for.

    Args:
        stages: the stages, in order.
        setting: settings that they share.
        sizes: of the model; see `sizes_by_name`.

    Raises:
        ConfigError: one was begun with another setting, or after other stages.
        CheckpointError: what it was begun with cannot be read.
    """
    for number in range(len(stages)):
        _compare(setting.out / stages[number].name, _facts(stages, number, setting, sizes))


def check_start(folder: Path, start: str | None) -> None:
    """See that a begun stage started from these weights.

    Args:
        folder: of the stage.
        start: digest of the weights from which it would start; None for random ones.

    Raises:
        ConfigError: it started from others.
    """
    _compare(folder, {_START: start})


def keep_begun(
    stages: Sequence[Stage], number: int, setting: Setting, sizes: Mapping[str, Any], start: str | None
) -> None:
    """Write down what a stage begins, or goes on, with; for the arguments, see `check_begun` and
    `check_start`.
    """
    folder, run = setting.out / stages[number].name, describe_run(setting)
    if newest_checkpoint(folder) is None:
        content = {**_facts(stages, number, setting, sizes), _START: start, RUNS: [run]}
    elif not (content := read_begun(folder)):
        return  # a version without this file has begun it
    else:
        content[RUNS] = [one for one in content.get(RUNS, []) if one != run] + [run]
    write_text(folder / FILE, json.dumps(content, indent=1) + "\n")


def read_begun(folder: Path) -> dict[str, Any]:
    """What a stage was begun with, and where it was trained; nothing if it was not begun.

    Raises:
        CheckpointError: it cannot be read.
    """
    return _read(folder / FILE) if (folder / FILE).exists() else {}


def batch_size_of(folder: Path) -> int:
    """Pictures per step of a stage that was begun."""
    return int(_read(folder / FILE)["batch_size"])


def _facts(
    stages: Sequence[Stage], number: int, setting: Setting, sizes: Mapping[str, Any]
) -> dict[str, Any]:
    """What the result of a stage depends on, besides the weights from which it starts."""
    return {
        **asdict(stages[number]),
        "order_seed": setting.seed + number,
        "ema": setting.ema,
        "photos_share": setting.photos_share if setting.photos else 0.0,
        "after": [stage.name for stage in stages[:number]],
        _TIME: setting.max_minutes,
        **{name: getattr(setting, name) for name in _WHILE_TRAINING},
        **sizes,
    }


def _compare(folder: Path, asked: Mapping[str, Any]) -> None:
    path = folder / FILE
    if not path.exists() or not ((folder / DONE).exists() or newest_checkpoint(folder)):
        return
    begun, asked = _read(path), dict(json.loads(json.dumps(asked)))
    if int(read_end(folder).get("steps", begun["images"])) >= begun["images"] // begun["batch_size"]:
        asked.pop(_TIME, None)  # only stages that ended early depend on the time that there was
    if (folder / DONE).exists():
        asked = {name: value for name, value in asked.items() if name not in _WHILE_TRAINING}
    for name, value in asked.items():
        if name in begun and begun[name] != value:  # older versions wrote fewer
            raise ConfigError(
                f"the stage in {folder} was begun with {_told(name, begun[name])}, but "
                f"{_told(name, value)} was asked for: use that value, choose another folder with out=, or "
                "remove this one to train the stage anew."
            )


def _told(name: str, value: Any) -> str:
    if name == _START:
        return "random weights" if value is None else f"weights of digest {value[:12]}"
    return f"{name}={json.dumps(value)}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        _ = int(found["images"]), int(found["batch_size"])
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged: choose another folder with out=, or remove its folder to train the stage "
            "anew."
        ) from error
    return found
