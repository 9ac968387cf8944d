"""HaMeR, compatible with the published checkpoints, and free of any token merging (see `tmu` beside it)."""

from hamer.config import DecoderConfig, HaMeRConfig, ViTConfig
from hamer.loading import load_hamer, save_hamer
from hamer.model import HaMeR

__all__ = ["DecoderConfig", "HaMeR", "HaMeRConfig", "ViTConfig", "load_hamer", "save_hamer"]
