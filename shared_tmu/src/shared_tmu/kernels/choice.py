"""Which implementation runs: selected by device and, for attention, by measurement; `using` overrides this.

The choice is one value for the whole process, read at every call; `torch.compile` reads it while tracing.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import KernelError

Function = TypeVar("Function", bound=Callable[..., object])

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_HAS_TRITON = importlib.util.find_spec("triton") is not None
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_OPTIONS = {"merging": ("auto", "torch", "triton"), "attention": ("auto", "mask", "channel")}


@dataclass(frozen=True)
class Choice:
    """Which implementations run; see `using`."""

    merging: str = "auto"
    attention: str = "auto"


_choice = Choice()


@contextmanager
def using(*, merging: str | None = None, attention: str | None = None) -> Iterator[Choice]:
    """Choose implementations inside the `with` block; those that are not named stay unchanged.

    Args:
        merging: "torch" or "triton" for matching and merging; "auto" is Triton if it is installed, on GPUs of
            compute capability 8.0 or more, for all dtypes except float64, and torch otherwise.
        attention: how sizes are passed to attention, "mask" or "channel", see `attention_choice`; "auto"
            measures both on GPUs, once for each kind of shape, and is "mask" on other devices.

        Yields:
        The choice that is now in effect, for all threads.

        Raises:
        KernelError: there is no such implementation.
    """
    global _choice
    wanted = {
        name: value for name, value in (("merging", merging), ("attention", attention)) if value is not None
    }
    for name, value in wanted.items():
        if value not in _OPTIONS[name]:
            raise KernelError(f"there is no {name} {value!r}: use one of {', '.join(_OPTIONS[name])}.")
    before, _choice = _choice, replace(_choice, **wanted)
    try:
        yield _choice
    finally:
        _choice = before


def current() -> Choice:
    """The current choice."""
    return _choice


def uses_triton(x: Tensor) -> bool:
    """Whether matching and merging of `x` run in Triton now.

    Raises:
        KernelError: "triton" was chosen, but Triton does not support the dtype or device of `x`.
    """
    if _choice.merging == "torch":
        return False
    if _choice.merging == "auto":
        return x.is_cuda and x.dtype in _DTYPES and _runs_triton(x.device)
    if x.dtype not in _DTYPES:
        raise KernelError(
            f"the Triton kernels support float32, float16 and bfloat16, not {x.dtype}: convert the tensors, "
            "or choose merging 'torch'."
        )
    if not (x.is_cuda or IS_INTERPRETED):
        raise KernelError(
            f"the Triton kernels run on CUDA devices, but these tensors are on {x.device}: move them to a "
            "GPU, or choose merging 'torch' (for tests, TRITON_INTERPRET=1 runs the kernels on a CPU)."
        )
    return True


def constant_when_compiled(function: Function) -> Function:
    """Like `torch.compiler.assume_constant_result`, but without loading the whole compiler to set one
    attribute.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_when_compiled
def _runs_triton(device: torch.device) -> bool:
    """Whether Triton is installed and supports the GPU: Ampere or newer (AMD numbers its GPUs from 9)."""
    return _HAS_TRITON and torch.cuda.get_device_capability(device) >= (8, 0)
