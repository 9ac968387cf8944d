"""HaMeR as the benchmark sees it; run it by `python -m shared_tmu.bench --model hamer`."""

from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from hamer_tmu import tmu
from hamer_tmu.model import HaMeR, HaMeRConfig, ViTConfig, load_hamer
from shared_tmu.bench.models import build_random
from shared_tmu.bench.pipeline import HandPipeline
from shared_tmu.bench.program import BenchProgram
from shared_tmu.body_models.mano import load_mano


def build_official() -> HaMeR:
    """The published sizes, random weights: how long it takes does not depend on them."""
    return build_random(lambda: HaMeR(HaMeRConfig.official(), load_mano()))


def build_tiny() -> HaMeR:
    """As deep and with as many tokens as the published model, but narrow: to try the command."""
    config = HaMeRConfig.official()
    backbone = ViTConfig(embed_dim=64, num_heads=4)
    decoder = replace(config.decoder, context_dim=64, dim=64, mlp_dim=64, depth=1)
    return build_random(lambda: HaMeR(replace(config, backbone=backbone, decoder=decoder), load_mano()))


PROGRAM = BenchProgram(
    name="HaMeR",
    folder=Path(__file__).resolve().parents[1],
    sizes={"vit-h": build_official, "thin": load_hamer, "tiny": build_tiny},
    patch=tmu.patch,
    vertices=itemgetter("pred_vertices"),
    parts={"mano_head": "head", "mano": "body model"},
    make_pipeline=HandPipeline.from_folder,
)
