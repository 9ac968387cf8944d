"""The sizes of models in training by name: weights say nothing of those that leave shapes as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from shared_tmu.errors import CheckpointError
from shared_tmu.programs.identity import sizes_of

_NO_MATTER = ("use_checkpoint",)  # saves memory, with the same result
_IN_TRAINING = ("drop_path_rate", "dropout", "emb_dropout", "with_discriminator")


def sizes_by_name(model: nn.Module, part: str) -> dict[str, Any]:
    """Settings of a model on which the result of training depends, such as `model.backbone.num_heads`.

    Args:
        model: the model; one without a configuration has none.
        part: name of its ViT, whose depth is left out: each stage has its own.
    """
    found = _flat("model", sizes_of(model) or {})
    return {
        name: value
        for name, value in found.items()
        if name != f"model.{part}.depth" and _last(name) not in _NO_MATTER
    }


def check_same_sizes(path: Path, start: nn.Module, wanted: nn.Module, part: str) -> None:
    """See that trained weights mean the same in the model that is asked for as in their own.

    Args:
        path: of the weights.
        start: their own model.
        wanted: the model to be trained.
        part: name of the ViT.

    Raises:
        CheckpointError: a setting on which predictions depend differs.
    """
    own, asked = sizes_by_name(start, part), sizes_by_name(wanted, part)
    for name in sorted(own.keys() & asked.keys()):
        if own[name] != asked[name] and _last(name) not in _IN_TRAINING:
            raise CheckpointError(
                f"{path} is a model with {name}={own[name]}, but {name}={asked[name]} was asked for, with "
                "which its weights mean something else: use that value, or other weights."
            )


def _flat(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(f"{name}.{key}", value) if isinstance(value, Mapping) else {f"{name}.{key}": value}
    return found


def _last(name: str) -> str:
    return name.rpartition(".")[2]
