"""The description of a model that evaluations and measurements read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from shared_tmu.layers import BlocksOf
from shared_tmu.patching import PatchHandle
from shared_tmu.programs.subject import Subject


class LoadModel(Protocol):
    """The model folder's function that loads it."""

    def __call__(
        self, checkpoint: Path | None, body_path: Path | None = None, config_path: Path | None = None, /
    ) -> nn.Module:
        """Load a model; see `ModelFormat.load`."""


class PatchModel(Protocol):
    """The model folder's `tmu.patch`."""

    def __call__(self, model: nn.Module, schedule: Any, method: str = ..., **options: Any) -> PatchHandle:
        """Patch `model`; see `shared_tmu.patch`."""


@dataclass(frozen=True)
class Program:
    """A model and how to load and patch it.

    Args:
        name: the model's name in results, e.g. `"HaMeR"`.
        folder: a folder with source code of the model; if that changes, finished work is computed again.
        load_model: `(checkpoint, body model file, configuration, each or None) -> model` in eval mode; the
            model maps a batch with `img` to a dictionary, and has its `config`.
        patch: patches such a model.
        default_checkpoint: the file that `load_model(None, ...)` reads.
        estimates: what the model estimates.
        parts: the model's modules after the ViT, by the name of their part in a profile.
    """

    name: str
    folder: Path
    _: KW_ONLY
    load_model: LoadModel
    patch: PatchModel
    default_checkpoint: Path
    estimates: Subject
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> Mapping[str, Callable[[], nn.Module]]:
        """Models for timing, by name: on the CPU, in float32, in eval mode. The first is the default."""
        return {self.default_checkpoint.stem: lambda: self.load_model(None)}

    def blocks_of(self, model: nn.Module) -> BlocksOf:
        """The place of the blocks of the model's ViT."""
        return BlocksOf(model, f"{self.estimates.backbone}.blocks")
