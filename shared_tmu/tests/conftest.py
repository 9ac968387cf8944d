"""Fixtures for every test: a seed before each, devices, dtypes with tolerances, poisoned memory, a ViT."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from torch import Tensor
from toy_vit import ToyViT

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or `poisoned_memory` forbids products on GPUs
settings.register_profile("repository", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("repository")

TOLERANCE = {torch.float16: 3e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same random numbers for every test, whichever ran before."""
    torch.manual_seed(0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """CPU, and the GPU where there is one (`-m gpu`)."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture(params=TOLERANCE, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Every float dtype; `tolerance` is the error it may have."""
    return request.param


@pytest.fixture
def tolerance(dtype: torch.dtype) -> float:
    """Absolute and relative error allowed for `dtype`."""
    return TOLERANCE[dtype]


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """`torch.empty` returns NaN, or the largest integer, so that memory nobody wrote cannot pass a test."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def vit() -> ToyViT:
    """A 4-layer ViT with 18 task tokens in front."""
    return ToyViT(depth=4, task_tokens=18).eval()


@pytest.fixture
def tokens() -> Tensor:
    """Patch tokens for `vit`, `[2, 40, 32]`."""
    return torch.randn(2, 40, 32)
