"""Digests of everything that a result depends on: finished work is reused only if they match."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import shared_tmu
from shared_tmu.models.config import ModelConfig

# parts of shared_tmu that an evaluation does not run; of what synth renders there is a digest of its own
_BESIDE = ("assets", "bench", "demo", "synth", "viz")


def digest_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 of plain values by name, independent of their order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over every parameter and buffer of a model (body model included), with names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def code_sha256(model_folder: Path, beside: Sequence[str] = _BESIDE) -> str:
    """SHA-256 over source code: of the core and the model folder's packages.

    Args:
        model_folder: the model folder.
        beside: parts of shared_tmu that are left out; by default those that do not affect predictions,
            scores and what is chosen by them.
    """
    core = Path(shared_tmu.__file__).parent
    files = [p for p in core.rglob("*.py") if p.relative_to(core).parts[0] not in beside]
    packages = [p.parent for p in model_folder.glob("*/__init__.py")]
    files += [p for package in packages if package.name != "tests" for p in package.rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def sizes_of(model: nn.Module) -> Any:
    """The model's configuration as plain values: entries such as the camera are not weights, but affect
    results.
    """
    config = getattr(model, "config", None)
    return config.to_dict() if isinstance(config, ModelConfig) else None
