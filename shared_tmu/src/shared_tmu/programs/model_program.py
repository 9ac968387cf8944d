"""What a model folder hands to the runner, and one thing to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from shared_tmu.patching import PatchHandle
from shared_tmu.schedule import Schedule
from shared_tmu.trunk import Protect


class LoadModel(Protocol):
    """The model folder's function that loads it."""

    def __call__(
        self, checkpoint: Path | None, body_path: Path | None, config_path: Path | None = None, /
    ) -> nn.Module:
        """Load a model; see `ModelFormat.load`."""


class PatchModel(Protocol):
    """The model folder's `tmu.patch`."""

    def __call__(self, model: nn.Module, schedule: Any, method: str = ..., **options: Any) -> PatchHandle:
        """Patch `model`; see `shared_tmu.patch`."""


def hand_vertices(output: Mapping[str, Any]) -> Tensor:
    """Vertices `[B, 778, 3]` in metres of a hand model's output."""
    vertices: Tensor = output["pred_vertices"]
    return vertices


def body_vertices(output: Mapping[str, Any]) -> Tensor:
    """Vertices `[B, 10475, 3]` in metres of a body model's output, before its translation."""
    vertices: Tensor = output["smplx_mesh_cam"] - output["cam_trans"].unsqueeze(1)
    return vertices


def hand_crops(model: nn.Module, count: int) -> dict[str, Tensor]:
    """Random crops `[B, 3, S, S]` as `img`, with S = `model.config.image_size`, on the CPU, in float32."""
    config: Any = model.config
    draws = torch.Generator().manual_seed(0)
    return {"img": torch.randn(count, 3, config.image_size, config.image_size, generator=draws)}


def body_crops(model: nn.Module, count: int) -> dict[str, Tensor]:
    """Random crops `[B, 3, h, w]` in 0..1 as `img`, of the encoder's `img_size`, on the CPU, in float32."""
    config: Any = model.config
    draws = torch.Generator().manual_seed(0)
    return {"img": torch.rand(count, 3, *config.encoder.img_size, generator=draws)}


@dataclass(frozen=True)
class Subject:
    """What a model estimates, as far as command lines differ.

    Args:
        name: `"hand"` or `"body"`; decides which evaluation sets there are.
        dataset: the set that makes itself.
        body_flag: names the body model's file.
        body_file: what that file is usually called.
        bundled: what is used without it.
        vertices: a model's output to its vertices `[B, V, 3]` in metres.
        crops: a model and a number of images to random crops for it, as it takes them.
    """

    name: str
    dataset: str
    body_flag: str
    body_file: str
    bundled: str
    vertices: Callable[[Mapping[str, Any]], Tensor]
    crops: Callable[[nn.Module, int], dict[str, Tensor]]


HAND = Subject(
    name="hand",
    dataset="synthhand",
    body_flag="--mano_path",
    body_file="MANO_RIGHT.pkl",
    bundled="the bundled hand",
    vertices=hand_vertices,
    crops=hand_crops,
)
BODY = Subject(
    name="body",
    dataset="synthbody",
    body_flag="--smplx_path",
    body_file="SMPLX_NEUTRAL.npz",
    bundled="the bundled person",
    vertices=body_vertices,
    crops=body_crops,
)


@dataclass(frozen=True)
class EvalProgram:
    """A model folder, as the runner sees it.

    Args:
        name: the model's name in results, e.g. `"HaMeR"`.
        folder: the model folder; results go to its `results` unless told otherwise, and its sources count
            when deciding whether finished work still holds.
        load_model: `(checkpoint, body model file, configuration, each or None) -> model` in eval mode;
            the model maps a
            batch with `img` to a dictionary with the published keys, and tells the size of its input in
            `config`.
        patch: the folder's `tmu.patch`.
        default_checkpoint: the file that `load_model(None, ...)` reads.
        subject: what the model estimates.
    """

    name: str
    folder: Path
    load_model: LoadModel
    patch: PatchModel
    default_checkpoint: Path
    subject: Subject = HAND


@dataclass(frozen=True)
class Run:
    """One line of results: a way of merging.

    Args:
        schedule: tokens to remove per layer.
        method: row of `shared_tmu.METHODS`.
        unmerge: whether the full sequence is restored; False is the merge-only control.
        protect: which tokens stay out of merging, see `shared_tmu.run_trunk`; `"last"` is a control.
    """

    schedule: Schedule
    method: str
    unmerge: bool
    protect: Protect = "first"

    @property
    def label(self) -> str:
        """For tables and file names: `5x20`, `random-5x20`, `5x20-merge-only`, `5x20-protect-last`."""
        parts = [] if self.method == "tome" else [self.method]
        parts += [str(self.schedule), *([] if self.unmerge else ["merge-only"])]
        return "-".join([*parts, *([] if self.protect == "first" else [f"protect-{self.protect}"])])

    def patched(self, program: EvalProgram, model: nn.Module, *, record: bool = False) -> PatchHandle:
        """`model` patched this way, for a `with` block."""
        options = {"unmerge": self.unmerge, "protect": self.protect, "record": record}
        return program.patch(model, self.schedule, self.method, **options)

    def applied(self, program: EvalProgram, model: nn.Module) -> AbstractContextManager[object]:
        """As `patched`, but `off` leaves the model alone: it is the baseline itself."""
        return nullcontext() if self.schedule.is_off else self.patched(program, model)


BASELINE = Run(Schedule.parse("off"), "tome", unmerge=True)
"""The unpatched model, which every other run is compared with."""
