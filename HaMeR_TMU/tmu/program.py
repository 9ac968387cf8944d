"""HaMeR as demo.py, eval.py and export.py run it."""

from pathlib import Path

from hamer_tmu import tmu
from hamer_tmu.model.loading import BUNDLED, load_hamer
from shared_tmu.evaluation import EvalProgram

PROGRAM = EvalProgram(
    name="HaMeR",
    folder=Path(__file__).resolve().parents[1],
    load_model=load_hamer,
    patch=tmu.patch,
    default_checkpoint=BUNDLED,
)
