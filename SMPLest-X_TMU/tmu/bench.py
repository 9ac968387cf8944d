"""SMPLest-X as the benchmark sees it; run it by `python -m shared_tmu.bench --model smplest-x`."""

from dataclasses import replace
from operator import attrgetter, itemgetter
from pathlib import Path

from shared_tmu.bench.models import build_random
from shared_tmu.bench.program import BenchProgram
from shared_tmu.body_models.smplx_model import load_smplx
from shared_tmu.programs.model_program import body_crops
from smplest_x_tmu import tmu
from smplest_x_tmu.model import SMPLestX, SMPLestXConfig, load_smplest_x


def build_official() -> SMPLestX:
    """The published sizes, random weights: how long it takes does not depend on them."""
    return build_random(lambda: SMPLestX(SMPLestXConfig.official(), load_smplx()))


def build_tiny() -> SMPLestX:
    """As deep and with as many tokens as the published model, but narrow: to try the command."""
    config = SMPLestXConfig.official()
    encoder = replace(config.encoder, embed_dim=64, num_heads=4)
    decoder = replace(config.decoder, dim=64, context_dim=64, mlp_dim=64, dim_out=32, depth=1)
    return build_random(lambda: SMPLestX(replace(config, encoder=encoder, decoder=decoder), load_smplx()))


PROGRAM = BenchProgram(
    name="SMPLest-X",
    folder=Path(__file__).resolve().parents[1],
    sizes={"vit-h": build_official, "thin": load_smplest_x, "tiny": build_tiny},
    patch=tmu.patch,
    backbone=attrgetter("encoder"),
    make_batch=body_crops,
    vertices=itemgetter("smplx_mesh_cam"),
    parts={"decoder": "head", "smplx_layer": "body model"},
)
