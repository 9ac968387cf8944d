"""WiLoR as demo.py, eval.py and export.py run it."""

from pathlib import Path

from shared_tmu.evaluation import EvalProgram
from wilor_tmu import tmu
from wilor_tmu.model.loading import BUNDLED, load_wilor

PROGRAM = EvalProgram(
    name="WiLoR",
    folder=Path(__file__).resolve().parents[1],
    load_model=load_wilor,
    patch=tmu.patch,
    default_checkpoint=BUNDLED,
)
