"""Rounds of training: where they lie, what they start from, their command line, and how far they are."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from bundled import Bundled
from forecast import pictures_of, read_history
from omegaconf import OmegaConf

from shared_tmu.programs.identity import file_sha256
from shared_tmu.training.begun import FILE, batch_size_of
from shared_tmu.training.checkpointing import LAST, newest_checkpoint
from shared_tmu.training.curve import read_curve
from shared_tmu.training.drawing import Scenes
from shared_tmu.training.ends import DONE, OWN, read_end
from training_parts.keeping import ModelState, Point, Round
from training_parts.overrides import quoted, scene_overrides
from training_parts.planning import scaled

ERROR, PARENTS = "val/pa_mpvpe_mm", "parents"
_SETTING = {
    **{"accelerator": "cpu", "devices": 1, "workers": 0, "draw_processes": 1},
    **{"val_count": 300, "val_every": 500, "save_every": 100},
}
_SEEDS = 100  # a round's seeds are those of its stages: one after the other


@dataclass(frozen=True)
class Place:
    """A bundled model and its folder in the state.

    Attributes:
        name: as users type it.
        bundled: its files in the repository.
        folder: where its rounds lie.
    """

    name: str
    bundled: Bundled
    folder: Path

    def round_folder(self, number: int) -> Path:
        """The folder of a round."""
        return self.folder / f"round-{number:04d}"

    def export(self, number: int) -> Path:
        """The weights that a finished round has left."""
        return self.round_folder(number) / "export" / self.bundled.weights

    def newest(self, model: ModelState) -> Path:
        """The newest weights: of the last finished round, or the shipped ones."""
        return self.export(model.rounds[-1]) if model.rounds else self.bundled.checkpoint

    def stages(self) -> dict[str, dict[str, Any]]:
        """The stages with which training goes on from shipped weights."""
        found: Any = OmegaConf.to_container(OmegaConf.load(self.bundled.folder / "configs" / "more.yaml"))
        return {str(name): stage for name, stage in found["stages"].items()}

    def begun(self) -> ModelState:
        """The state of a model of which nothing is known but the shipped files."""
        weights = self.bundled.checkpoint
        record = json.loads(weights.with_suffix(".training.json").read_text(encoding="utf-8"))
        pictures = _pictures(self.bundled, record)
        error = record.get("validation", {}).get("last", {}).get(ERROR)
        log = [] if error is None else [Point(pictures, float(error))]
        return ModelState(file_sha256(weights), pictures, log)

    def per_s(self) -> float:
        """Pictures per second when the shipped weights were trained: how costly this model is against
        others, whatever else runs on this machine now."""
        record = self.bundled.checkpoint.with_suffix(".training.json")
        total = json.loads(record.read_text(encoding="utf-8"))["total"]
        return float(total["images_seen"] / max(total["seconds"], 1.0))

    def round_images(self, seconds: float) -> dict[str, int]:
        """Pictures of each stage of a round that takes about so many seconds of a core of its own."""
        stages = [(name, one["depth"], one["images"]) for name, one in self.stages().items()]
        return scaled(stages, round(self.per_s() * seconds))


def open_round(
    place: Place,
    model: ModelState,
    images: Mapping[str, int],
    sets: Sequence[Scenes],
    trunk: tuple[Path, int] | None,
    more: Iterable[str] = (),
) -> ModelState:
    """A model whose next round has begun.

    Args:
        place: the model's files.
        model: no round of it is open.
        images: pictures of each stage.
        sets: the scenes that all stages use. If some are before surroundings in the hand's own colours, every
            stage sees all patches: to see those of the hand first would tell what these scenes teach.
        trunk: another model's weights, and the pictures that their trunk has seen; None to keep the own one.
        more: further settings of `train.py`.
    """
    number = model.last_round + 1
    overrides = [f"setting.{key}={value}" for key, value in _SETTING.items()]
    overrides.append(f"setting.seed={_SEEDS * number}")
    is_hard = any(one.difficulty.alike for one in sets)
    for name, count in images.items():
        overrides.append(f"stages.{name}.images={count}")
        overrides += scene_overrides(name, sets)
        if is_hard and "keep_patches" in (stage := place.stages()[name]):
            overrides.append(f"stages.{name}.keep_patches=null")
            overrides += [f"stages.{name}.full_share=0"] if "full_share" in stage else []
    parents = place.round_folder(number) / PARENTS
    begun = Round(
        number,
        start_from=_copied(place.newest(model), parents),
        backbone_from=_copied(trunk[0], parents) if trunk else None,
        pictures_before=max(model.pictures, trunk[1] if trunk else 0),
        overrides=[*overrides, *more],
    )
    return replace(model, last_round=number, open=begun)


def train_command(place: Place, one: Round, cache: Path) -> list[str]:
    """The command of a round, the same whenever it goes on."""
    folder = place.round_folder(one.number)
    paths = {
        "start_from": one.start_from,
        "backbone_from": one.backbone_from,
        "out": folder,
        "export_to": folder / "export",
        "cache": cache,
    }
    words = [f"{key}={'null' if path is None else quoted(path)}" for key, path in paths.items()]
    return [sys.executable, "train.py", "--config-name", "more", *words, *one.overrides]


def progress(place: Place, one: Round) -> int:
    """Pictures that a round has seen, by its checkpoints."""
    total = 0
    for folder in (path.parent for path in place.round_folder(one.number).glob(f"*/{FILE}")):
        steps = int(read_end(folder).get("steps", 0))
        if not steps and (newest := newest_checkpoint(folder)) is not None:
            steps = int(torch.load(newest, map_location="cpu", weights_only=True, mmap=True)["global_step"])
        total += steps * batch_size_of(folder)
    return total


def finish_round(place: Place, model: ModelState) -> ModelState:
    """A model whose open round has ended. Its files stay until the state is written; see `clear_rounds`."""
    one = model.open
    assert one is not None
    seen = progress(place, one)
    rows = read_curve(place.round_folder(one.number) / "curve.csv")
    pictures = one.pictures_before + seen
    log = [*model.log, *([Point(pictures, float(rows[-1][ERROR]))] if rows else [])]
    rounds = [*model.rounds, one.number]
    return replace(model, pictures=pictures, log=log, rounds=rounds, seen=model.seen + seen, open=None)


def drop_round(place: Place, model: ModelState) -> ModelState:
    """A model without its open round, which has seen nothing yet."""
    one = model.open
    assert one is not None
    shutil.rmtree(place.round_folder(one.number), ignore_errors=True)
    return replace(model, open=None, last_round=one.number - 1)


def clear_rounds(place: Place, model: ModelState) -> None:
    """Remove the checkpoints of all rounds that have ended; weights and records stay.

    Only for a state that is written: a round that is still open there needs them to go on.
    """
    for number in range(1, model.last_round + 1):
        if model.open is not None and number == model.open.number:
            continue
        folder = place.round_folder(number)
        for name in (LAST, DONE, OWN):
            for checkpoint in folder.glob(f"*/{name}"):
                checkpoint.unlink()
        shutil.rmtree(folder / PARENTS, ignore_errors=True)


def _copied(weights: Path, folder: Path) -> Path:
    """A copy of weights with what describes them, so that a round goes on whatever becomes of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (weights, weights.with_suffix(".yaml"), weights.with_suffix(".training.json")):
        if path.exists():
            shutil.copyfile(path, folder / path.name)
    return folder / weights.name


def seen_seeds(weights: Path) -> set[int]:
    """Seeds of all scenes in the training records beside a file of weights."""
    found: set[int] = set()
    for path in weights.parent.glob("*.training.json"):
        stages = json.loads(path.read_text(encoding="utf-8")).get("stages", [])
        found |= {int(one["seed"]) for stage in stages for one in (stage, *stage.get("also", []))}
    return found


def _pictures(model: Bundled, record: Mapping[str, Any]) -> int:
    """Pictures that the trunk of the shipped weights has seen."""
    lines = read_history(model.history)
    digest = file_sha256(model.checkpoint)
    known = [int(line["pictures"]) for line in lines if line["checkpoint_sha256"] == digest]
    if known:
        return known[0]
    try:
        return pictures_of(record)
    except ValueError:
        before = max((int(line["pictures"]) for line in lines), default=0)
        return before + int(record["total"]["images_seen"])
