"""The description of this folder, for demo.py, eval.py, export.py, train.py and `python -m
shared_tmu.bench`.
"""

from dataclasses import replace
from pathlib import Path

from shared_tmu.programs.estimates import HAND
from shared_tmu.programs.features import FrameFeature
from shared_tmu.programs.model_program import ModelProgram
from wilor_tmu import tmu
from wilor_tmu.model import ViTConfig, WiLoR, WiLoRConfig, load_wilor, save_wilor
from wilor_tmu.model.loading import BUNDLED


def narrow(config: WiLoRConfig) -> WiLoRConfig:
    """A configuration with the same depth and number of tokens, but few channels."""
    return replace(config, backbone=ViTConfig(embed_dim=64, num_heads=4))


PROGRAM = ModelProgram(
    name="WiLoR",
    folder=Path(__file__).resolve().parents[1],
    config=WiLoRConfig,
    build=WiLoR,
    load_model=load_wilor,
    save_model=save_wilor,
    patch=tmu.patch,
    default_checkpoint=BUNDLED,
    narrow=narrow,
    estimates=HAND,
    parts={"refine_net": "head", "mano": "body model"},
    published="wilor",
    feature=FrameFeature("backbone", tokens=18),
)
