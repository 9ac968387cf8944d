"""Loads WiLoR: the bundled weights, the official checkpoint, or one of our own checkpoints."""

from collections.abc import Mapping
from pathlib import Path

import torch

from shared_tmu.models.loading import HandFormat
from wilor_tmu.model.config import WiLoRConfig
from wilor_tmu.model.model import WiLoR

BUNDLED = Path(__file__).parent.parent / "weights" / "wilor_thin.safetensors"
FORMAT = HandFormat(
    build=WiLoR,
    config=WiLoRConfig,
    prefixes=("backbone.", "refine_net."),
    where="The official weights come with https://github.com/rolpotamias/WiLoR (its README puts them at "
    "pretrained_models/wilor_final.ckpt; scripts/assets.py explain wilor tells how to place them here); "
    "without a checkpoint the bundled weights are used.",
)


def load_wilor(
    checkpoint: Path | str | None = None,
    mano_path: Path | str | None = None,
    config_path: Path | str | None = None,
    dtype: torch.dtype | str = torch.float32,
) -> WiLoR:
    """Load WiLoR for inference, on the CPU: the official `wilor_final.ckpt`, or None for the bundled weights.

    Arguments and errors are those of `ModelFormat.load`.
    """
    return FORMAT.load(checkpoint, mano_path, config_path, dtype, BUNDLED)


def save_wilor(
    model: WiLoR,
    path: Path | str,
    dtype: torch.dtype | str = torch.float16,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write weights and configuration; see `ModelFormat.save`."""
    FORMAT.save(model, path, dtype, facts)
