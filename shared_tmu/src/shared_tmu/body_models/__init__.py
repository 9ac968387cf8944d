"""Body models: files are read without executing code, stored as plain arrays and converted to torch
layers.
"""

from shared_tmu.body_models.mano import ManoModel, MeanParams, load_mano, load_mean_params
from shared_tmu.body_models.smplx_model import SmplxModel, load_smplx

__all__ = ["ManoModel", "MeanParams", "SmplxModel", "load_mano", "load_mean_params", "load_smplx"]
