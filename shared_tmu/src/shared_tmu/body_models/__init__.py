"""Body models: files read without executing code, kept as plain arrays, turned into torch layers on request."""

from shared_tmu.body_models.mano import ManoModel, MeanParams, load_mano, load_mean_params

__all__ = ["ManoModel", "MeanParams", "load_mano", "load_mean_params"]
