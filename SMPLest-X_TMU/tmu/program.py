"""SMPLest-X as demo.py, eval.py and export.py run it."""

from pathlib import Path

from shared_tmu.evaluation import BODY, EvalProgram
from smplest_x_tmu import tmu
from smplest_x_tmu.model.loading import BUNDLED, load_smplest_x

PROGRAM = EvalProgram(
    name="SMPLest-X",
    folder=Path(__file__).resolve().parents[1],
    load_model=load_smplest_x,
    patch=tmu.patch,
    default_checkpoint=BUNDLED,
    subject=BODY,
)
