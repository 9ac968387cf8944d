"""Loads SMPLest-X: the bundled weights, the official checkpoint, or one of our own checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.body_models.smplx_model import SmplxModel, load_smplx
from shared_tmu.models.loading import ModelFormat
from smplest_x_tmu.model.config import SMPLestXConfig
from smplest_x_tmu.model.model import SMPLestX


@dataclass(frozen=True)
class BodyFormat(ModelFormat[SMPLestX]):
    """The published checkpoint contains no SMPL-X; a body model inside another checkpoint is not used."""

    BODY = "smplx_layer."
    SURFACE = (
        "v_template", "shapedirs", "expr_dirs", "posedirs", "J_regressor", "lbs_weights", "pose_mean",
        "faces_tensor",
    )  # fmt: skip
    BUNDLED_BODY = "SynthBody"
    IGNORED = ("smplx_layer.",)

    def load_body(self, path: Path | str | None) -> SmplxModel:
        """A person's body model; see `load_smplx`."""
        return load_smplx(path)

    def attach(self, model: SMPLestX, body: SmplxModel) -> None:
        """SMPL-X's layer."""
        model.smplx_layer = SmplxLayer(body)

    def our_name(self, key: str) -> str:
        """Our name for a weight; also accepts an earlier name of the encoder in the published code."""
        bare = super().our_name(key)
        return "encoder." + bare.removeprefix("backbone.") if bare.startswith("backbone.") else bare

    def undescribed(self, path: Path, looked: str) -> SMPLestXConfig:
        """The published sizes: the published configuration is a Python program, which is not executed."""
        return SMPLestXConfig.official()


BUNDLED = Path(__file__).parent.parent / "weights" / "smplest_x_thin.safetensors"
FORMAT = BodyFormat(
    build=SMPLestX,
    config=SMPLestXConfig,
    prefixes=("encoder.", "decoder."),
    where="The official weights, smplest_x_h.pth.tar, are named in https://github.com/SMPLCap/SMPLest-X "
    "(scripts/assets.py explain smplest_x tells how to place them here); without a checkpoint the bundled "
    "weights are used.",
)


def load_smplest_x(
    checkpoint: Path | str | None = None,
    smplx_path: Path | str | None = None,
    config_path: Path | str | None = None,
    dtype: torch.dtype | str = torch.float32,
) -> SMPLestX:
    """Load SMPLest-X for inference, on the CPU: the official `smplest_x_h.pth.tar`, or None for the bundled
    weights.

    A checkpoint without a configuration beside it is assumed to have the published sizes. Arguments and
    errors are those of `ModelFormat.load`.
    """
    return FORMAT.load(checkpoint, smplx_path, config_path, dtype, BUNDLED)


def save_smplest_x(
    model: SMPLestX,
    path: Path | str,
    dtype: torch.dtype | str = torch.float16,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write weights and configuration; see `ModelFormat.save`."""
    FORMAT.save(model, path, dtype, facts)
