"""What only the hand folders' `eval.py` leaves: the official prediction file."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .evaluation import COUNT, EvalSuite
from .hands import HandFolder


class HandEvalSuite(EvalSuite):
    """Files that FreiHAND's own evaluation reads."""

    folder: ClassVar[HandFolder]

    def test_the_official_prediction_file(self, tmp_path: Path, given: tuple[Any, ...]) -> None:
        assert self.run(*given, "--dataset", "FREIHAND-VAL", "--rounds", 0, "--r", "20x3") == 0
        (line,) = self.lines(tmp_path)
        xyz, verts = json.loads((tmp_path / line["files"] / "pred.json").read_text())
        assert np.shape(xyz) == (COUNT, 21, 3)
        assert np.shape(verts) == (COUNT, 778, 3)
