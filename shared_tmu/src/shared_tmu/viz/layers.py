"""Figures of layers: how similar they are, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shared_tmu.errors import MissingDependencyError
from shared_tmu.files import replacing


def draw_similarity(record: Mapping[str, Any], path: Path) -> None:
    """Write a figure of a model's CKA between all layers, and between neighbours; the suffix of `path`
    chooses the format.

    Args:
        record: has `model`, `dataset`, `n`, `tokens` and `cka`, a list of rows.
        path: written in one step.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'shared_tmu[viz]'.") from error
    matrix = np.array(record["cka"])
    depth = len(matrix)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    shown = left.imshow(matrix, origin="lower", vmin=0, vmax=1, extent=(0.5, depth + 0.5, 0.5, depth + 0.5))
    figure.colorbar(shown, ax=left, label="linear CKA")
    left.set_title(f"{record['model']}: all pairs of layers", fontsize=10)
    left.set_xlabel("layer")
    left.set_ylabel("layer")
    layers = np.arange(1, depth)
    right.plot(layers + 0.5, matrix.diagonal(1), marker=".", label="with the next layer")
    right.plot(np.arange(1, depth + 1), matrix[-1], marker=".", label="with the last layer")
    right.set_ylim(min(0.0, float(matrix.min())), 1.02)
    right.set_title(f"{record['n']} pictures of {record['dataset']}, {record['tokens']} tokens", fontsize=10)
    right.set_xlabel("layer")
    right.set_ylabel("linear CKA")
    right.grid(alpha=0.3)
    right.legend(fontsize=8, loc="lower right")
    with replacing(path) as beside:
        figure.savefig(beside, dpi=150)
