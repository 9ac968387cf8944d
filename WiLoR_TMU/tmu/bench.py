"""WiLoR as the benchmark sees it; run it by `python -m shared_tmu.bench --model wilor`."""

from operator import itemgetter
from pathlib import Path

from shared_tmu.bench.models import build_random
from shared_tmu.bench.pipeline import HandPipeline
from shared_tmu.bench.program import BenchProgram
from shared_tmu.body_models.mano import load_mano
from wilor_tmu import tmu
from wilor_tmu.model import ViTConfig, WiLoR, WiLoRConfig, load_wilor


def build_official() -> WiLoR:
    """The published sizes, random weights: how long it takes does not depend on them."""
    return build_random(lambda: WiLoR(WiLoRConfig.official(), load_mano()))


def build_tiny() -> WiLoR:
    """As deep and with as many tokens as the published model, but narrow: to try the command."""
    backbone = ViTConfig(embed_dim=64, num_heads=4)
    return build_random(lambda: WiLoR(WiLoRConfig(backbone=backbone), load_mano()))


PROGRAM = BenchProgram(
    name="WiLoR",
    folder=Path(__file__).resolve().parents[1],
    sizes={"vit-h": build_official, "thin": load_wilor, "tiny": build_tiny},
    patch=tmu.patch,
    vertices=itemgetter("pred_vertices"),
    parts={"refine_net": "head", "mano": "body model"},
    make_pipeline=HandPipeline.from_folder,
)
