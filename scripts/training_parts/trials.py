"""Trials of training: which variants there are, where a trial lies, its command line, and how fast it was."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from shared_tmu.errors import InputError
from shared_tmu.files import write_text
from shared_tmu.programs.identity import file_sha256
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.curve import read_curve
from shared_tmu.training.drawing import Scenes
from shared_tmu.training.ends import DONE, OWN
from training_parts.overrides import quoted, scene_overrides

BASELINE = "present"
VARIANTS: dict[str, tuple[str, ...]] = {
    BASELINE: (),
    "mixed": ("++stages.half.full_share=0.25",),
    "hard": ("++stages.half.hard_share=0.5", "++stages.whole.hard_share=0.5"),
    "silhouette": ("++stages.half.silhouette_block=2", "++stages.whole.silhouette_block=2"),
    "matrices": ("++stages.half.matrix_factor=3", "++stages.whole.matrix_factor=3"),
    "fewer": ("stages.half.keep_patches=64",),
    "batch": (
        *("stages.half.batch_size=64", "stages.half.lr=0.0017", "stages.half.warmup=100"),
        *("stages.whole.batch_size=64", "stages.whole.lr=0.0007", "stages.whole.warmup=25"),
    ),
    "stem": ("++model.backbone.stem=conv", "stages.half.embedding_factor=1"),
}
"""Settings of `train.py` that differ from `configs/trial.yaml`, by the name of the variant."""
PICTURES = 150_000
VAL_SEED, VAL_COUNT = 900_000, 2000
_STAGES = {"half": 0.8, "whole": 0.2}  # of configs/trial.yaml, with their shares of the pictures
_LAST = "whole"
_BATCH = 32
_SEEDS = 100  # a trial's seeds are those of its stages: one after the other
_TRIAL, _SCENES, _WHERE, _FROM = "trial.json", "scenes.json", "environment.json", "starts.json"
_STARTS = ("start_from", "backbone_from")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SHARED = re.compile(
    r"out|export_to|cache|setting\.(?:seed|val_seed|val_count)"
    r"|stages\.\w+\.(?:images|seed|count|also|difficulty.*)"
)
_SETTING = {
    **{"accelerator": "cpu", "devices": 1, "workers": 0, "draw_processes": 1},
    **{"val_seed": VAL_SEED, "val_count": 500, "val_every": 500, "save_every": 100, "ema": 0.999},
}


@dataclass(frozen=True)
class Trial:
    """One run of a variant.

    Attributes:
        variant: its name.
        seed: of weights, order and changes of the pictures.
        pictures: pictures of all stages.
        overrides: settings that differ from the present recipe.
    """

    variant: str
    seed: int
    pictures: int
    overrides: tuple[str, ...]

    def folder(self, state: Path) -> Path:
        """Where it lies."""
        return state / f"{self.pictures}" / f"{self.variant}-{self.seed}"

    def weights(self, state: Path) -> dict[str, Path]:
        """What it leaves, by name: the weights as trained, and their moving average."""
        return {"own": self.folder(state) / _LAST / OWN, "average": self.folder(state) / _LAST / DONE}

    def begin(self, state: Path) -> None:
        """Write down what it is.

        Raises:
            InputError: it was begun with other settings.
        """
        path = self.require_same(state)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    def require_same(self, state: Path) -> Path:
        """The file that says what it is, or will.

        Raises:
            InputError: it was begun with other settings.
        """
        path = self.folder(state) / _TRIAL
        told = json.loads(json.dumps(asdict(self)))
        if path.exists() and (found := _read(path)) != told:
            begun = found.get("overrides") if isinstance(found, dict) else found
            raise InputError(
                f"{path.parent} was begun with {begun}, but {self.variant} is now "
                f"{told['overrides']}: give it another name, or remove the folder."
            )
        return path

    def keep_starts(self, state: Path, folder: Path) -> None:
        """Write down which files its settings start from, by their contents.

        Args:
            state: folder of all trials.
            folder: of the model, in which `train.py` runs.

        Raises:
            InputError: it was begun from other files.
        """
        words = (word.lstrip("+").partition("=") for word in self.overrides)
        paths = {key: folder / value for key, _, value in words if key in _STARTS}
        now = {key: file_sha256(path) for key, path in paths.items() if path.is_file()}
        path = self.folder(state) / _FROM
        if path.exists() and _read(path) != now:
            raise InputError(
                f"{path.parent} was begun from other weights than {', '.join(map(str, paths.values()))} are "
                "now: remove the folder, or put the weights back."
            )
        write_text(path, json.dumps(now, indent=1) + "\n")

    def starts(self, state: Path) -> Any:
        """What `keep_starts` wrote; nothing for a trial from random weights."""
        path = self.folder(state) / _FROM
        return _read(path) if path.exists() else {}

    def keep_environment(self, state: Path, facts: Mapping[str, Any]) -> None:
        """Write down where and with which code it is measured, see `describe_environment`."""
        write_text(self.folder(state) / _WHERE, json.dumps(facts, indent=1) + "\n")

    def environment(self, state: Path) -> dict[str, Any]:
        """What `keep_environment` wrote; nothing for a trial that was not measured."""
        path = self.folder(state) / _WHERE
        found = _read(path) if path.exists() else {}
        return found if isinstance(found, dict) else {}

    def command(self, state: Path, cache: Path, sets: Sequence[Scenes]) -> list[str]:
        """The command line, the same whenever it goes on."""
        folder = self.folder(state)
        paths = {"out": folder, "export_to": folder / "export", "cache": cache}
        words = [f"{key}={quoted(path)}" for key, path in paths.items()]
        words += [f"setting.{key}={value}" for key, value in _SETTING.items()]
        words.append(f"setting.seed={_SEEDS * self.seed}")
        for name, share in _STAGES.items():
            words.append(f"stages.{name}.images={round(share * self.pictures)}")
            words += scene_overrides(name, sets)
        return [sys.executable, "train.py", "--config-name", "trial", *words, *self.overrides]

    def pictures_per_s(self, state: Path) -> float | None:
        """Pictures per second of training, by the median time between two validations, which pauses do not
        change; None before the second validation.
        """
        rows = read_curve(self.folder(state) / "curve.csv")
        seconds = pictures = 0.0
        for name, share in _STAGES.items():
            points = [(0, 0.0)]
            points += [(int(row["images"]), float(row["seconds"])) for row in rows if row["stage"] == name]
            costs = [
                (b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(points) if b[0] > a[0] and b[1] > a[1]
            ]
            if costs:
                seconds += share * median(costs)
                pictures += share
        return pictures / seconds if seconds else None


def list_trials(
    variants: Mapping[str, Sequence[str]], names: Sequence[str], seeds: Sequence[int], pictures: int
) -> list[Trial]:
    """The trials in order: all variants with the first seed, then with the second ...

    Raises:
        InputError: there is no such variant, or too few pictures for a step.
    """
    unknown = [name for name in names if name not in variants]
    if unknown:
        raise InputError(f"there is no variant {unknown[0]!r}: use {', '.join(variants)}, or --set.")
    least = round(_BATCH / min(_STAGES.values()))
    if pictures < least:
        raise InputError(f"--pictures {pictures} is too small for a step of each stage: use {least} or more.")
    return [Trial(name, seed, pictures, tuple(variants[name])) for seed in seeds for name in names]


def own_variants(given: Sequence[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The variants of `--set NAME KEY=VALUE ...`.

    Raises:
        InputError: a name cannot be used or is taken, there is nothing to set, or it would change what is the
            same for all trials.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, *words in given:
        told = f"--set {' '.join((name, *words))}"
        if not _NAME.fullmatch(name):
            raise InputError(f"{told}: begin with a name of letters, digits, - and _, such as lr2e-3.")
        if name in VARIANTS or name in found:
            raise InputError(f"{told}: there is a variant {name!r} already; use another name.")
        if not words or not all("=" in word for word in words):
            raise InputError(f"{told}: after the name comes what it sets, such as stages.half.lr=0.002.")
        for word in words:
            key, _, value = word.lstrip("+~").partition("=")
            if _SHARED.fullmatch(key) or (key == "setting.ema" and value in ("null", "~", "")):
                raise InputError(f"{told}: {key} is the same for all trials, or their average would be gone.")
        found[name] = tuple(words)
    return found


def frozen_sets(state: Path, found: Sequence[Scenes]) -> list[Scenes]:
    """The scenes of all trials: those that were found when the first of them began.

    Raises:
        InputError: there are none.
    """
    path = state / _SCENES
    if not path.exists():
        if not found:
            raise InputError(
                "there are no scenes in the cache: draw some with scripts/make_shards.py --cache DIR "
                "--count 20000 --seed 100000 --variety 0.4, or name another folder with --cache."
            )
        write_text(path, json.dumps([asdict(one) for one in found], indent=1) + "\n")
    try:
        read = [Scenes(one["seed"], one["count"], Difficulty(**one["difficulty"])) for one in _read(path)]
    except (TypeError, KeyError) as error:
        raise InputError(f"{path} does not tell scenes ({error!r}): use another --state.") from error
    if not read:
        raise InputError(f"{path} tells no scenes: use another --state.")
    return read


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): use another --state.") from error
