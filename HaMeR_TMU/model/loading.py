"""Loads HaMeR: the bundled weights, the official checkpoint, or one of our own checkpoints."""

from collections.abc import Mapping
from pathlib import Path

import torch

from hamer_tmu.model.config import HaMeRConfig
from hamer_tmu.model.model import HaMeR
from shared_tmu.models.loading import HandFormat

BUNDLED = Path(__file__).parent.parent / "weights" / "hamer_thin.safetensors"
FORMAT = HandFormat(
    build=HaMeR,
    config=HaMeRConfig,
    prefixes=("backbone.", "mano_head."),
    where="The official weights come with https://github.com/geopavlakos/hamer (its fetch_demo_data.sh "
    "puts them at _DATA/hamer_ckpts/checkpoints/hamer.ckpt; scripts/assets.py explain hamer tells how to "
    "place them here); without a checkpoint the bundled weights are used.",
)


def load_hamer(
    checkpoint: Path | str | None = None,
    mano_path: Path | str | None = None,
    config_path: Path | str | None = None,
    dtype: torch.dtype | str = torch.float32,
) -> HaMeR:
    """Load HaMeR for inference, on the CPU: the official `hamer.ckpt`, or None for the bundled weights.

    Arguments and errors are those of `ModelFormat.load`.
    """
    return FORMAT.load(checkpoint, mano_path, config_path, dtype, BUNDLED)


def save_hamer(
    model: HaMeR,
    path: Path | str,
    dtype: torch.dtype | str = torch.float16,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write weights and configuration; see `ModelFormat.save`."""
    FORMAT.save(model, path, dtype, facts)
