"""What a model folder hands to the benchmark, and finding that by the model's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shared_tmu.bench.pipeline import Pipeline
from shared_tmu.errors import InputError
from shared_tmu.programs.model_program import PatchModel, hand_crops

MODELS = "shared_tmu.models"
"""Entry points by which model packages tell of themselves."""


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


def find_program(name: str) -> BenchProgram:
    """The benchmark of an installed model package; capitals and punctuation of its name do not count.

    Raises:
        InputError: no such model; the message names those that are installed.
    """
    found = {_plain(entry.name): entry for entry in entry_points(group=MODELS)}
    if not found:
        raise InputError("no model is installed: pip install ./HaMeR_TMU, or another *_TMU folder.")
    if _plain(name) not in found:
        names = ", ".join(sorted(entry.name for entry in found.values()))
        raise InputError(f"there is no model {name!r}: use one of {names}.")
    package = found[_plain(name)].module.rpartition(".")[0]
    program: BenchProgram = import_module(f"{package}.bench").PROGRAM
    return program


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
