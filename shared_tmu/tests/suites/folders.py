"""A model folder as the suites see it, and what all of them do with its recorded cases."""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from shared_tmu.models.config import ModelConfig
from shared_tmu.programs.model_program import ModelProgram

CASES = ("full_grid", "small_grid")


@dataclass(frozen=True)
class ModelFolder(ABC):
    """A model folder.

    Attributes:
        name: what the model is called.
        root: the folder.
        build: the model's class.
        config: its configuration's class.
        load, save: what the package calls `load_...` and `save_...`.
        package: what is imported, such as `hamer_tmu`.
        published_name: of the official checkpoint's file.
        upstream: part of the upstream repository's address, which messages name.
        needed: a weight of the head that every checkpoint has.
        keys: weights in the published checkpoint.
        prefix: T, task tokens.
        unused: parts of names of parameters that the output cannot depend on.
    """

    name: str
    root: Path
    build: Callable[..., Any]
    config: Any
    load: Callable[..., Any]
    save: Callable[..., None]
    package: str
    published_name: str
    upstream: str
    needed: str
    keys: int
    prefix: int = 0
    unused: tuple[str, ...] = ()

    PART: ClassVar[str]
    """What the model calls its ViT."""
    BODY: ClassVar[str]
    """How names of the body model's buffers start."""
    BUNDLED_BODY: ClassVar[str]
    BODY_FLAG: ClassVar[str]
    BODY_FILE: ClassVar[str]
    SET: ClassVar[str]
    """An evaluation set with a published layout, and one of its files."""
    SET_FILE: ClassVar[str]
    LINE: ClassVar[tuple[str, ...]] = ()
    """What its result lines have besides what all have."""
    SHAPES: ClassVar[dict[str, tuple[int, ...]]]
    """Shapes of the outputs of tiny models, without the batch, vertices first."""
    HALF: ClassVar[dict[torch.dtype, float]]
    """How far half precision may move vertices, relative to 1 m and their distance."""
    RECORDED: ClassVar[frozenset[str]]
    """What `run` says that every recorded file has."""

    @property
    def golden(self) -> Path:
        """Recorded cases."""
        return self.root / "tests" / "golden"

    @property
    def slug(self) -> str:
        """The name as result files have it."""
        return self.name.lower()

    @property
    def vertices(self) -> str:
        """What the output calls its vertices."""
        return next(iter(self.SHAPES))

    @property
    def program(self) -> ModelProgram:
        """What the other programs run."""
        return self.module("tmu.program").PROGRAM

    @cached_property
    def tmu(self) -> ModuleType:
        """The folder's `tmu` package."""
        return self.module("tmu")

    def module(self, name: str) -> ModuleType:
        """A module of the folder."""
        return importlib.import_module(f"{self.package}.{name}")

    def vit(self, model: Any) -> Any:
        """The ViT inside a model, or the sizes of the one inside a configuration."""
        return getattr(model, self.PART)

    def description(self, case: str) -> dict[str, Any]:
        """Sizes and schedules of a case."""
        return json.loads((self.golden / f"{case}.config.json").read_text())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """A recorded file."""
        return load_file(self.golden / f"{name}.safetensors")

    def weights(self, case: str) -> dict[str, Tensor]:
        """The weights of a case, named as in our models."""
        return {key.removeprefix("module."): value for key, value in self.tensors(f"{case}.weights").items()}

    @abstractmethod
    def case_config(self, case: str, **changes: Any) -> Any:
        """The configuration of a case."""

    def case_model(self, case: str, dtype: torch.dtype = torch.float32) -> Any:
        """The model of a case with its weights."""
        model = self.build(self.case_config(case), self.standin()).to(dtype)
        found = model.load_state_dict(self.weights(case), strict=False)
        assert not found.unexpected_keys
        assert all(key.startswith(self.BODY) for key in found.missing_keys)
        return model.eval()

    @abstractmethod
    def sized(
        self, width: int, height: int = 256, columns: int = 192, depth: int = 1, heads: int = 2
    ) -> ModelConfig:
        """A configuration of any size."""

    @abstractmethod
    def training_sizes(self) -> dict[str, Any]:
        """Sizes of the smallest model that trains, but for its depth: 24 wide."""

    @abstractmethod
    def tiny(self, depth: int) -> Any:
        """A model for whole crops, 16 channels wide, random, whose results are in front of the camera."""

    def boxes(self, entries: Any) -> Any:
        """A boxes file of hands as one of what this folder's model shows."""
        return entries

    @abstractmethod
    def images(self, count: int, height: int = 256, columns: int = 192) -> Tensor:
        """Random crops for a model of `sized`, always the same."""

    @abstractmethod
    def standin(self) -> Any:
        """A random body model."""

    @abstractmethod
    def bundled_body(self) -> Any:
        """The body model that ships with `shared_tmu`."""

    @abstractmethod
    def write_body(self, folder: Path) -> Path:
        """The file of the body model that `case_model` has."""

    @abstractmethod
    def write_set(self, root: Path, count: int) -> tuple[Any, ...]:
        """The set `SET` with `count` pictures of noise; further flags that its evaluation needs."""

    @abstractmethod
    def container(self, weights: Mapping[str, Tensor], **extra: Any) -> dict[str, Any]:
        """What the published checkpoint holds."""

    def write_published(self, folder: Path, weights: Mapping[str, Tensor], **extra: Any) -> Path:
        """A checkpoint of the case `small_grid` as published, with its sizes in our layout beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.published_name
        torch.save(self.container(weights, **extra), path)
        sizes = yaml.safe_dump(self.case_config("small_grid").to_dict())
        path.with_suffix(".yaml").write_text(sizes)
        return path

    @abstractmethod
    def run(self, model: Any, img: Tensor) -> dict[str, Tensor]:
        """Everything the model says, flat, with its tokens as `features`."""

    def published_table(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Every key of the published checkpoint with its shape and type, named as in our models."""
        table = {}
        for line in next(self.golden.glob("*.tsv")).read_text().splitlines():
            key, shape, dtype = line.split("\t")
            sizes = () if shape == "scalar" else tuple(map(int, shape.split(",")))
            table[key.removeprefix("module.")] = (sizes, dtype)
        return table


def check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], keys: Any = None) -> None:
    """Compare `keys`, or what both have; `wanted` may hold more."""
    for key in keys or set(found) & set(wanted):
        a, b = found[key], wanted[key]
        assert a.shape == b.shape, key
        worst = ((a - b).abs() / (1 + b.abs())).max().item()
        assert worst <= 5e-5, f"{key}: {worst:.1e}"


@torch.no_grad()
def silence(model: nn.Module, *names: str) -> None:
    """Zero weights, and zero biases, of the layers of these names."""
    for name, parameter in model.named_parameters():
        if name.split(".")[-2] in names:
            parameter.zero_()
