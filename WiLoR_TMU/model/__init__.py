"""WiLoR, compatible with the published checkpoints, and free of any token merging (see `tmu` beside it)."""

from shared_tmu.models.config import ViTConfig
from wilor.config import WiLoRConfig
from wilor.loading import load_wilor, save_wilor
from wilor.model import WiLoR

__all__ = ["ViTConfig", "WiLoR", "WiLoRConfig", "load_wilor", "save_wilor"]
