"""The learned module of a method: kept separately from the model, with its own files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from ..blocks.parts import parts_of
from ..errors import CheckpointError, PatchError


def make_learned(learn: Callable[[Sequence[nn.Module]], nn.Module], blocks: Sequence[nn.Module]) -> nn.Module:
    """The module of a method that learns, on the device of the blocks and in their dtype and mode.

    It is the same every time, and draws nothing from the global random generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learned = learn([parts_of(block) for block in blocks])
    wanted = next(blocks[0].parameters())
    # only where it is needed: fake tensors refuse it even where it does nothing
    if any(p.device != wanted.device or p.dtype != wanted.dtype for p in learned.parameters()):
        learned = learned.to(wanted.device, wanted.dtype)
    return learned.train(blocks[0].training)


def save_learned(method: str, learned: nn.Module | None, path: Path) -> None:
    """Write a method's module as safetensors, with the method's name in its metadata.

    Raises:
        PatchError: there is none.
    """
    from ..files.checkpoints import save_safetensors

    save_safetensors(_require(method, learned).state_dict(), path, {"method": method})


def load_learned(method: str, learned: nn.Module | None, path: Path) -> None:
    """Read a method's module.

    Raises:
        PatchError: there is none.
        CheckpointError: it is not such a file, or its tensors do not fit this module.
    """
    from ..files.checkpoints import read_checkpoint, tensors_of

    module = _require(method, learned)
    found, wanted = tensors_of(read_checkpoint(path)), module.state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in found.items()}
    expected = {name: list(tensor.shape) for name, tensor in wanted.items()}
    if shapes != expected:
        wrong = sorted(
            name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name)
        )
        raise CheckpointError(
            f"{path} does not contain the learned parts of method {method!r} for this model: {wrong[0]!r} is "
            f"{shapes.get(wrong[0], 'missing')}, expected {expected.get(wrong[0], 'nothing of that name')} "
            f"({len(wrong)} such tensors)."
        )
    module.load_state_dict(found)


def _require(method: str, learned: nn.Module | None) -> nn.Module:
    if learned is None:
        raise PatchError(f"method {method!r} learns nothing, so there is nothing to save or load.")
    return learned
