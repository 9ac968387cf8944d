"""Body models: files read without executing code, kept as plain arrays, made into torch layers."""

from shared_tmu.body_models.mano import ManoModel, MeanParams, load_mano, load_mean_params

__all__ = ["ManoModel", "MeanParams", "load_mano", "load_mean_params"]
