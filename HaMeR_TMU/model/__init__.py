"""HaMeR, compatible with the published checkpoints, and free of any token merging (see `tmu` beside it)."""

from hamer_tmu.model.config import HaMeRConfig
from hamer_tmu.model.loading import load_hamer, save_hamer
from hamer_tmu.model.model import HaMeR
from shared_tmu.models.config import ViTConfig
from shared_tmu.models.decoder import DecoderConfig

__all__ = ["DecoderConfig", "HaMeR", "HaMeRConfig", "ViTConfig", "load_hamer", "save_hamer"]
