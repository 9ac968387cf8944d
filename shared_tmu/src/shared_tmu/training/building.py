"""Builds untrained models of the sizes that a configuration gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from shared_tmu.errors import ConfigError
from shared_tmu.limits import shown
from shared_tmu.programs.model_program import ModelProgram


def sizes_of(program: ModelProgram, sizes: Mapping[str, Any], depth: int) -> Any:
    """The configuration of a model with `depth` blocks and the other sizes as given.

    Raises:
        ConfigError: no such model can be built.
    """
    part = program.estimates.backbone
    content = {**sizes, part: {**section(sizes, part), "depth": depth}}
    return program.config.from_dict(content, "model")


def untrained(program: ModelProgram, sizes: Mapping[str, Any], depth: int) -> nn.Module:
    """A model with `depth` blocks and the other sizes as given."""
    return program.build(sizes_of(program, sizes, depth), *program.estimates.load_bodies())


def section(sizes: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """The sizes of one part of the model.

    Raises:
        ConfigError: they are not sizes by name.
    """
    found = sizes.get(part) or {}
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"model.{part}={shown(found)} was asked for; expected sizes by name, as in "
            f"model.{part}.embed_dim=192."
        )
    return found
