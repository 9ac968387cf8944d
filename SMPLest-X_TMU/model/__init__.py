"""SMPLest-X, compatible with the published checkpoint, and free of token merging (see `tmu` beside it)."""

from shared_tmu.models.config import ViTConfig
from smplest_x_tmu.model.config import BodyDecoderConfig, SMPLestXConfig
from smplest_x_tmu.model.loading import load_smplest_x, save_smplest_x
from smplest_x_tmu.model.model import SMPLestX

__all__ = ["BodyDecoderConfig", "SMPLestX", "SMPLestXConfig", "ViTConfig", "load_smplest_x", "save_smplest_x"]
