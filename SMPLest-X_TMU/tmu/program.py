"""The description of this folder, for demo.py, eval.py, export.py, train.py and `python -m
shared_tmu.bench`.
"""

from dataclasses import replace
from pathlib import Path

from shared_tmu.programs.estimates import BODY
from shared_tmu.programs.features import FrameFeature
from shared_tmu.programs.model_program import ModelProgram
from smplest_x_tmu import tmu
from smplest_x_tmu.model import SMPLestX, SMPLestXConfig, load_smplest_x, save_smplest_x
from smplest_x_tmu.model.loading import BUNDLED


def narrow(config: SMPLestXConfig) -> SMPLestXConfig:
    """A configuration with the same depth and number of tokens, but few channels."""
    encoder = replace(config.encoder, embed_dim=64, num_heads=4)
    decoder = replace(config.decoder, dim=64, context_dim=64, mlp_dim=64, dim_out=32, depth=1)
    return replace(config, encoder=encoder, decoder=decoder)


PROGRAM = ModelProgram(
    name="SMPLest-X",
    folder=Path(__file__).resolve().parents[1],
    config=SMPLestXConfig,
    build=SMPLestX,
    load_model=load_smplest_x,
    save_model=save_smplest_x,
    patch=tmu.patch,
    default_checkpoint=BUNDLED,
    narrow=narrow,
    estimates=BODY,
    parts={"decoder": "head", "smplx_layer": "body model"},
    feature=FrameFeature("decoder.token_conv", tokens=22),
)
