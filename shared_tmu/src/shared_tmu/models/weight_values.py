"""Values of weights: their number format, whether they are finite, and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from shared_tmu.errors import CheckpointError, InputError
from shared_tmu.runtime.precision import DTYPES

_DTYPES = {**DTYPES, "float64": torch.float64}

M = TypeVar("M", bound=nn.Module)


def weight_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A dtype of weights, by itself or by its name, such as `"bfloat16"`.

    Raises:
        InputError: weights cannot have it.
    """
    found = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found is None or found not in _DTYPES.values():
        asked = repr(dtype) if isinstance(dtype, str) else str(dtype)
        raise InputError(f"weights cannot be of dtype {asked}: use one of {', '.join(_DTYPES)}.")
    return found


def narrowed(model: M, dtype: torch.dtype, source: str) -> M:
    """A model in a dtype.

    Raises:
        CheckpointError: a weight is too large for it, or not finite.
    """
    model.to(dtype)
    require_finite(model.state_dict(), f"{source} in {dtype}")
    return model


def require_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that are infinite or NaN.

    Raises:
        CheckpointError: names them.
    """
    if bad := [name for name, value in weights.items() if not _is_finite(value)]:
        limit = "; float16 ends at 65,504" if weights[bad[0]].dtype == torch.float16 else ""
        raise CheckpointError(f"{source}: {len(bad)} weights are not finite, such as {bad[0]}{limit}.")


def _is_finite(value: Tensor) -> bool:
    """Whether all real numbers are finite; smallest and largest take a tenth of the time of `isfinite`."""
    if not value.is_floating_point() or value.numel() == 0:
        return True
    return bool(torch.stack(value.aminmax()).isfinite().all())


def fingerprint(tensors: Mapping[str, Tensor], names: Iterable[str]) -> str:
    """SHA-256 of tensors' values, as hexadecimal digits; real numbers count as float32, so that a model
    converted to float64 keeps its fingerprint.
    """
    digest = hashlib.sha256()
    for name in names:
        value = tensors[name].detach().cpu()
        value = value.float() if value.is_floating_point() else value.long()
        digest.update(f"{name} {list(value.shape)}\n".encode())
        digest.update(value.contiguous().numpy().data)
    return digest.hexdigest()
