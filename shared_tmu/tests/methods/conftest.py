"""A ViT for every row."""

from __future__ import annotations

import pytest
import torch
from toy_vit import ToyViT


@pytest.fixture(scope="module")
def vit() -> ToyViT:
    """Four blocks without task tokens."""
    torch.manual_seed(1)
    return ToyViT(depth=4).eval()
