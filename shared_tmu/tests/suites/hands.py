"""A hand folder as the suites see it, and what all of them do with its recorded cases."""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from shared_tmu.body_models import ManoModel, load_mano
from shared_tmu.models.config import HandConfig
from shared_tmu.models.hand import HandModel
from shared_tmu.training.program import TrainProgram

MANO_PICKLE = Path(__file__).parents[1] / "golden" / "mano" / "standin_official_layout.pkl"
CASES = ("full_grid", "small_grid")
PARAMETERS = ("global_orient", "hand_pose", "betas")


@dataclass(frozen=True)
class HandFolder:
    """A model folder.

    Attributes:
        name: what the model is called.
        root: the folder.
        build: the model's class.
        config: its configuration's class.
        load, save: what the package calls `load_...` and `save_...`.
        loading: name of the module with `BUNDLED`.
        published_name: of the official checkpoint's file.
        upstream: part of the upstream repository's address, which messages name.
        case_fields: the case's description to our configuration's fields beyond `backbone`.
        micro_fields: those fields for the smallest model, whose backbone is 24 or 32 wide.
        official: the published configuration file's content.
        needed: a weight of the head that every checkpoint has.
        keys: weights in the published checkpoint.
        prefix: T, task tokens.
        unused: parts of names of parameters that the output cannot depend on.
    """

    name: str
    root: Path
    build: Callable[..., HandModel]
    config: type[HandConfig]
    load: Callable[..., Any]
    save: Callable[..., None]
    loading: str
    published_name: str
    upstream: str
    case_fields: Callable[[Mapping[str, Any]], dict[str, Any]]
    micro_fields: Callable[[int], dict[str, Any]]
    official: dict[str, Any]
    needed: str
    keys: int
    prefix: int = 0
    unused: tuple[str, ...] = ()

    @property
    def golden(self) -> Path:
        """Recorded cases."""
        return self.root / "tests" / "golden"

    @property
    def slug(self) -> str:
        """The name as files have it."""
        return self.name.lower()

    @property
    def train_program(self) -> TrainProgram:
        """What `train.py` trains."""
        return self.module("train").PROGRAM

    @cached_property
    def tmu(self) -> ModuleType:
        """The folder's `tmu` package."""
        return self.module("tmu")

    def module(self, name: str) -> ModuleType:
        """A module of the folder."""
        return importlib.import_module(name)

    def description(self, case: str) -> dict[str, Any]:
        """Sizes and schedules of a case."""
        return json.loads((self.golden / f"{case}.config.json").read_text())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """A recorded file."""
        return load_file(self.golden / f"{name}.safetensors")

    def case_config(self, case: str, **changes: Any) -> HandConfig:
        """The configuration of a case."""
        content = self.description(case)
        parts = {"image_size": content["image_size"], "backbone": content["backbone"]}
        return self.config.from_dict(parts | self.case_fields(content) | changes)

    def case_model(self, case: str, dtype: torch.dtype = torch.float32) -> Any:
        """The model of a case with its weights."""
        model = self.build(self.case_config(case), mano_standin()).to(dtype)
        found = model.load_state_dict(self.tensors(f"{case}.weights"), strict=False)
        assert not found.unexpected_keys
        assert all(key.startswith("mano.") for key in found.missing_keys)
        return model.eval()

    def sized(
        self, width: int, image_size: int = 256, columns: int = 192, depth: int = 1, heads: int = 2
    ) -> HandConfig:
        """A configuration of any size."""
        backbone = {
            "img_size": [image_size, columns], "embed_dim": width, "depth": depth, "num_heads": heads,
            "mlp_ratio": 2, "drop_path_rate": 0.0,
        }  # fmt: skip
        return self.config.from_dict(
            {"image_size": image_size, "backbone": backbone, **self.micro_fields(width)}
        )

    def tiny(self, depth: int, scale: float = 0.0) -> Any:
        """A model for 256 px crops, 16 channels wide, random; `scale` is added to its camera's."""
        torch.manual_seed(0)
        model = self.build(self.sized(16, depth=depth), load_mano())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("deccam.bias"):
                    parameter[0] += scale
        return model.eval()

    def published_table(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Every key of the published checkpoint with its shape and type."""
        table = {}
        for line in (self.golden / f"{self.slug}.tsv").read_text().splitlines():
            key, shape, dtype = line.split("\t")
            table[key] = (() if shape == "scalar" else tuple(map(int, shape.split(","))), dtype)
        return table


def mano_standin() -> ManoModel:
    """A random hand in MANO's layout."""
    return load_mano(MANO_PICKLE)


def run(model: HandModel, img: Tensor) -> dict[str, Tensor]:
    """Everything the model says, flat, with its tokens."""
    with torch.no_grad():
        features = model.encode(img)
        out: dict[str, Any] = dict(model({"img": img}))
    params = out.pop("pred_mano_params")
    return {**out, **params, "features": features}


def check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], keys: set[str] | None = None) -> None:
    """Compare what both have; `wanted` may hold more."""
    for key in keys or set(found) & set(wanted):
        a, b = found[key], wanted[key]
        assert a.shape == b.shape, key
        worst = ((a - b).abs() / (1 + b.abs())).max().item()
        assert worst <= 5e-5, f"{key}: {worst:.1e}"
