"""What a finished stage leaves: the weights for export, and those with which the next stage goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from shared_tmu.errors import CheckpointError
from shared_tmu.files.checkpoints import save_safetensors
from shared_tmu.training.checkpointing import check_fits

DONE = "done.safetensors"
OWN = "own.safetensors"
"""The weights without the average of `DONE`; only of stages that keep one."""

_MODEL, _DENSE = "model.", "dense."


def save_end(folder: Path, model: nn.Module, dense: nn.Module, facts: dict[str, str]) -> None:
    """Write the weights for export."""
    save_safetensors(_weights(model, dense), folder / DONE, facts)


def save_own(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write the weights from which the next stage starts, if they differ from those for export.

    Args:
        folder: of the stage.
        state: the state dictionary of its training module; if it is empty, none of an earlier run stays.
    """
    if not state:
        (folder / OWN).unlink(missing_ok=True)
    else:
        save_safetensors({key: value.cpu().contiguous() for key, value in state.items()}, folder / OWN, {})


def load_end(path: Path, model: nn.Module, dense: nn.Module) -> None:
    """Load what a stage has left into a model and its dense heads.

    Raises:
        CheckpointError: the file is damaged, or belongs to a model of other sizes.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    check_fits(path, weights, _weights(model, dense))
    for prefix, module in ((_MODEL, model), (_DENSE, dense)):
        module.load_state_dict({k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)})


def take_known(dense: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load those weights of another stage's dense heads that a stage has, too."""
    own = dense.state_dict()
    dense.load_state_dict(own | {name: value for name, value in weights.items() if name in own})


def read_end(folder: Path) -> dict[str, str]:
    """The facts about a finished stage: its `steps` and `seconds`; empty before its end.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / DONE
    if not path.exists():
        return {}
    try:
        with safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
        _ = int(facts.get("steps", 0)), float(facts.get("seconds", 0))
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return facts


def _weights(model: nn.Module, dense: nn.Module) -> dict[str, torch.Tensor]:
    parts = ((_MODEL, model), (_DENSE, dense))
    return {f"{prefix}{k}": v.contiguous() for prefix, part in parts for k, v in part.state_dict().items()}


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read ({error}): remove it, and the stage continues from its last checkpoint."
    )
