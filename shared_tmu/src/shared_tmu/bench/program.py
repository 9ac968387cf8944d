"""What a model folder hands to the benchmark, and finding that folder by the model's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shared_tmu.bench.pipeline import Pipeline
from shared_tmu.errors import InputError
from shared_tmu.programs.model_program import PatchModel, hand_crops

_SUFFIX = "_TMU"


@dataclass(frozen=True)
class BenchProgram:
    """A model folder, as the benchmark sees it; its `tmu/bench.py` makes one and calls `bench.main`.

    Args:
        name: the model's name in results, e.g. `"HaMeR"`.
        folder: the model folder.
        sizes: what `--size` can name, the default first: functions that build the model on the CPU in float32
            and eval mode. For a size that only speed is measured at, see `bench.models.build_random`.
        patch: the folder's `tmu.patch`.
        backbone: the ViT inside the model: what `--scope vit` measures.
        make_batch: `(model, batch_size)` to the model's only argument, on the CPU in float32.
        vertices: the model's output to its vertices `[B, V, 3]` in metres; None if it has none.
        parts: the model's modules after the backbone, by the name of their part in a profile.
        make_pipeline: `(folder of pictures, batch_size)` to what `--profile` runs around the model; None
            profiles the model alone.
    """

    name: str
    folder: Path
    sizes: Mapping[str, Callable[[], nn.Module]]
    patch: PatchModel
    backbone: Callable[[nn.Module], nn.Module] = attrgetter("backbone")
    make_batch: Callable[[nn.Module, int], Mapping[str, Tensor]] = hand_crops
    vertices: Callable[[Any], Tensor] | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    make_pipeline: Callable[[Path, int], Pipeline] | None = None


def find_model_folder(name: str, start: Path) -> Path:
    """The folder `<name>_TMU` in `start` or in a folder above it; capitals and punctuation do not count.

    Args:
        name: `hamer` finds `HaMeR_TMU`.
        start: the repository, or a folder inside it.

    Raises:
        InputError: no such model; the message names those that were found.
    """
    found: dict[str, Path] = {}
    for place in (start, *start.parents):
        for folder in sorted(place.glob(f"*{_SUFFIX}")):
            if (folder / "tmu" / "bench.py").is_file():
                found.setdefault(_plain(folder.name.removesuffix(_SUFFIX)), folder)
    if not found:
        raise InputError(
            f"no model folder (*{_SUFFIX} with tmu/bench.py) in {start} or above it: run this inside the "
            "repository."
        )
    if _plain(name) not in found:
        raise InputError(f"there is no model {name!r}: use one of {', '.join(found)}.")
    return found[_plain(name)]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
