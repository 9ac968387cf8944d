"""How similar the layers of a trunk are: linear CKA between the features after each block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shared_tmu.errors import LayersError


@torch.no_grad()
def linear_cka(features: Sequence[Tensor]) -> Tensor:
    """Linear centred kernel alignment between all pairs of layers.

    Args:
        features: features of each layer, `[S, C]`, for the same S samples (tokens of many pictures) in the
            same order.

    Returns:
        `[L, L]` float64, symmetric, 1 on the diagonal: `||Y^T X||^2 / (||X^T X|| ||Y^T Y||)` in Frobenius
        norms on features without their mean. Layers with constant features have no similarity: NaN.

    Raises:
        LayersError: there are no layers, or their numbers of samples differ.

    Source: Kornblith et al. 2019, arXiv:1905.00414.
    """
    counts = sorted({layer.shape[0] for layer in features})
    if not features or any(layer.ndim != 2 for layer in features) or len(counts) != 1:
        raise LayersError(
            f"CKA needs features [S, C] of the same samples for each layer, found {counts} samples."
        )
    centred = [layer.double() - layer.double().mean(0, keepdim=True) for layer in features]
    out = torch.empty(len(centred), len(centred), dtype=torch.float64)
    for i, x in enumerate(centred):
        for j, y in enumerate(centred[: i + 1]):
            out[i, j] = out[j, i] = (x.T @ y).square().sum()
    norms = out.diagonal().sqrt()
    return out / (norms[:, None] * norms[None, :])
