"""Reading the recorded trunks in `golden/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def read_golden(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata (parsed) of `golden/<name>.safetensors`."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        return tensors, {key: _parse(text) for key, text in file.metadata().items()}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {key[len(prefix) + 1 :]: value for key, value in tensors.items() if key.startswith(prefix + ".")}


def assert_golden(got: Tensor, want: Tensor, tolerance: float = 5e-5) -> None:
    """|got - want| <= tolerance * (1 + |want|)."""
    assert got.shape == want.shape
    error = ((got - want).abs() / (1 + want.abs())).max().item()
    assert error <= tolerance, f"off by {error:.2e}, allowed {tolerance:.0e}"


def read_r(case: dict[str, Any]) -> int | tuple[int, float] | list[int]:
    """A schedule as the published code took it."""
    kind = case.get("form", case.get("r_type"))
    return tuple(case["r"]) if kind == "tuple" else case["r"]


def cut_to_depth(r: Any, depth: int) -> Any:
    """The published code ignores list entries beyond the last block; here they are an error."""
    return r[:depth] if isinstance(r, list) else r


def _parse(text: str) -> Any:
    """Metadata is JSON, but for a few plain words."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
