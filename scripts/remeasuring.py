"""What has to be made and measured again when the weights of a bundled model are replaced, in its order."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundled import BUNDLED, REPOSITORY, Bundled
from safetensors import safe_open

from shared_tmu.programs.identity import file_sha256

_LEARNED = ("r", "count", "images", "batch_size", "warmup", "objective", "lr", "flops_weight", "seed")
_STABILITY_MASKS = {"hand": "none,keypoints,probe", "body": "none,truth,landmarks+probe"}
_CLIP_MASKS = "none,box,previous,previous+box,probe,truth"
_FILTERS = "none,one-euro,one-euro-both,savgol"
_METHODS = {"hamer": ("--limit", "1000", "--stability", "16"), "wilor": ("--limit", "100")}
_BOUNDS = {"smplest-x": ("--thresholds", "0.5,1")}  # those that its page states
_FEWER = ("--limit", "64", "--stability", "4")  # people are drawn slowly


@dataclass(frozen=True)
class Step:
    """One thing to do again.

    Attributes:
        name: as `--only` takes it.
        commands: each a list of words after `python`, one after the other.
        folder: from which they run, in the repository.
        writes_file: whether it makes a file that fits the old weights only, and without which programs refuse
            the new ones.
        is_timed: whether it measures times, so that nothing else may run.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    folder: str = "."
    writes_file: bool = False
    is_timed: bool = False

    def __str__(self) -> str:
        where = "" if self.folder == "." else f"cd {self.folder} && "
        return where + " && ".join(shlex.join(("python", *words)) for words in self.commands)


def steps(name: str, photos: Path | None = None, model: Bundled | None = None) -> list[Step]:
    """Everything that depends on the weights of a model: first files, then what is published.

    Args:
        name: of the model, as users type it.
        photos: folder of photographs; without it their figures are left out.
        model: its files; None takes the bundled ones.
    """
    model = model or BUNDLED[name]
    return [*_files(name, model), *_measured(name, model, photos)]


def _files(name: str, model: Bundled) -> Iterator[Step]:
    mark = file_sha256(model.checkpoint)[:8]  # a run for other weights is not resumed
    for path in sorted(model.checkpoint.parent.glob(f"{model.checkpoint.stem}.*.safetensors")):
        part = path.name.split(".")[1]
        if part == "probe":
            yield Step(part, (("-m", "shared_tmu.training.probe", "--model", name),), writes_file=True)
            continue
        words = ["--config-name", "motion"]
        if part != "decoder":
            recipe = (f"{key}={value}" for key, value in _recipe(path).items())
            words = ["--config-name", "learned", f"method={part}", *recipe]
        command = ("train.py", *words, f"out=outputs/{part}-{mark}", "export_to=weights")
        yield Step(part, (command,), model.folder.name, writes_file=True)


def _measured(name: str, model: Bundled, photos: Path | None) -> Iterator[Step]:
    seen = ("--photos", str(photos)) if photos is not None and model.photos else ()
    own = "--model", name
    yield _script("bundled", "evaluate_bundled", *own, *seen, is_timed=True)
    yield _script("tokens", "measure_tokens", *own)
    yield _script("masks", "measure_masks", *own, *seen)
    masks = "--mask", _STABILITY_MASKS[model.subject]
    yield _script("stability", "measure_stability", *own, "--limit", "96", "--stability", "48", *masks)
    yield _script("columns", "measure_columns", *own, *seen)
    yield _script("layers", "measure_layers", *own, *_BOUNDS.get(name, ()))
    yield _script("cka", "measure_cka", *own)
    yield _script("vertices", "measure_vertices", *own)
    yield _script("together", "measure_together", *own)
    if model.lines("clips").exists():
        yield from _clips(name, model)
    if model.lines("learned").exists():
        yield _script("learned", "measure_learned", *own)
    methods = own + _METHODS.get(name, _FEWER)
    yield _script("methods", "compare_methods", *methods, "--stage", "errors")
    yield _script("together-times", "measure_together", *own, "--time-only", is_timed=True)
    times = ("--stage", "times", "--rounds", "7")
    yield _script("methods-times", "compare_methods", *methods, *times, is_timed=True)
    yield _script("methods-table", "compare_methods", *methods, "--stage", "draw")
    yield _script("figures", "figures", "--all")
    yield _script("page", "page_picture")
    yield _script("cards", "check_cards", *own)


def _clips(name: str, model: Bundled) -> Iterator[Step]:
    set_of = ("eval.py", "--dataset", "synthhand-clips", "--rounds", "0")
    publish = ("../scripts/measure_clips.py", "--model", name)
    both = ("--mask", "none,box", "--plans", "free,held", "--decoder", "none,diffusion", "--smooth", _FILTERS)
    yield Step("clips", ((*set_of, "--r", "off,8x16", *both), publish), model.folder.name)
    apart = ("--results", "results/clip_masks")
    masks = (*set_of, "--r", "off,8x16,12x8+6x8", "--mask", _CLIP_MASKS, *apart)
    yield Step("clip-masks", (masks, (*publish, "--masks", *apart)), model.folder.name)
    yield _script("following", "measure_following", "--model", name, "--clips", "8")
    yield _script("video-times", "measure_video", "--model", name, is_timed=True)


def _script(name: str, program: str, *words: str, is_timed: bool = False) -> Step:
    return Step(name, ((f"scripts/{program}.py", *words),), is_timed=is_timed)


def _recipe(path: Path) -> Mapping[str, Any]:
    """Settings with which a learned file was made, as its metadata has them."""
    with safe_open(path, "pt") as file:
        recipe = json.loads((file.metadata() or {}).get("recipe", "{}"))
    return {key: recipe[key] for key in _LEARNED if recipe.get(key) is not None}


def chosen(every: Sequence[Step], only: Sequence[str] | None, timed: bool) -> list[Step]:
    """The steps of these names, or all; timed ones only if asked."""
    return [one for one in every if (only is None or one.name in only) and (timed or not one.is_timed)]


def is_committed(model: Bundled, status: str) -> bool:
    """Whether `git status --porcelain` names no file beside the model's weights."""
    inside = f"{model.checkpoint.parent.relative_to(REPOSITORY).as_posix()}/"
    return not any(inside in line for line in status.splitlines())  # a renamed file is named twice
