"""What only the hand folders' `eval.py` has: every hand set, and the official prediction files."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from official_sets import write_freihand, write_hint, write_ho3d

from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.programs.results import read_records

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

    def test_every_set_in_its_official_layout(
        self, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = tmp_path / "data"
        write_freihand(data, COUNT)
        write_ho3d(data, "v2", COUNT)
        write_ho3d(data, "v3", COUNT, with_list=True)
        parts = ("newdays", "epick", "ego4d")
        for part in parts:
            write_hint(data, part, COUNT)
        names = ("freihand", "ho3d-v2", "ho3d-v3", *(f"hint-{part}" for part in parts))
        flags = ("--dataset", ",".join(names), "--data_dir", data, "--checkpoint", checkpoint)
        assert self.run(*flags, "--results", tmp_path, "--device", "cpu", "--rounds", 0, "--r", "20x3") == 0
        lines = {}
        for name in names:
            (line,) = read_records(tmp_path / f"{self.folder.slug}-{name}.jsonl")
            assert (line["dataset"], line["n"]) == (name, COUNT)
            rows = read_per_sample(tmp_path / line["files"])
            assert (rows.about["dataset_sha256"], len(rows.samples)) == (line["dataset_sha256"], COUNT)
            lines[name] = line
        assert (tmp_path / lines["ho3d-v2"]["files"] / "pred.zip").is_file()
        assert lines["ho3d-v3"]["boxes"] == "ho3d_val.npz"
        for name in names[:3]:
            assert lines[name]["pa_mpvpe_mm"] > 0
            assert lines[name]["wrist_mpvpe_mm"] > 0
            assert lines[name]["translation_error_mm"] > 0
        assert {"pck_05_all", "pck_15_occ"} <= set(lines["hint-epick"])
        assert "scale-trans. MPJPE mm" in capsys.readouterr().out
