"""The description of this folder, for demo.py, eval.py, export.py, train.py and `python -m
shared_tmu.bench`.
"""

from dataclasses import replace
from pathlib import Path

from hamer_tmu import tmu
from hamer_tmu.model import HaMeR, HaMeRConfig, ViTConfig, load_hamer, save_hamer
from hamer_tmu.model.loading import BUNDLED
from shared_tmu.programs.estimates import HAND
from shared_tmu.programs.features import FrameFeature
from shared_tmu.programs.model_program import ModelProgram


def narrow(config: HaMeRConfig) -> HaMeRConfig:
    """A configuration with the same depth and number of tokens, but few channels."""
    decoder = replace(config.decoder, context_dim=64, dim=64, mlp_dim=64, depth=1)
    return replace(config, backbone=ViTConfig(embed_dim=64, num_heads=4), decoder=decoder)


PROGRAM = ModelProgram(
    name="HaMeR",
    folder=Path(__file__).resolve().parents[1],
    config=HaMeRConfig,
    build=HaMeR,
    load_model=load_hamer,
    save_model=save_hamer,
    patch=tmu.patch,
    default_checkpoint=BUNDLED,
    narrow=narrow,
    estimates=HAND,
    parts={"mano_head": "head", "mano": "body model"},
    published="hamer",
    feature=FrameFeature("mano_head.transformer"),
)
