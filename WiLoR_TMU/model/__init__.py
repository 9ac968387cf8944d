"""WiLoR, compatible with the published checkpoints, and free of any token merging (see `tmu` beside it)."""

from shared_tmu.models.config import ViTConfig
from wilor_tmu.model.config import WiLoRConfig
from wilor_tmu.model.loading import load_wilor, save_wilor
from wilor_tmu.model.model import WiLoR

__all__ = ["ViTConfig", "WiLoR", "WiLoRConfig", "load_wilor", "save_wilor"]
