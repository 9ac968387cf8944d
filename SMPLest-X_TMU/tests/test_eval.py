"""What every folder's eval.py does, on this folder's model; and the set that makes itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder import FOLDER
from suites.evaluation import COUNT, EvalSuite

from shared_tmu.datasets import synthbody


class TestEval(EvalSuite):
    folder = FOLDER

    def test_what_a_run_on_ehf_leaves(
        self, tmp_path: Path, given: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(*given, "--rounds", 0, "--r", "20x3") == 0
        (line,) = self.lines(tmp_path)
        assert (line["n"], line["n_official"]) == (COUNT, 100)
        assert (line["parts"], line["boxes"]) == ("official", "EHF.json")
        folder = tmp_path / line["files"]
        assert np.load(folder / "pred.npz")["smplx_body_pose"].shape == (COUNT, 63)
        per_sample = np.load(folder / "per_sample.npz")
        assert per_sample["pa_mpvpe_mm"].mean() == pytest.approx(line["pa_mpvpe_mm"], abs=1e-9)
        low, high = line["interval_95"]["pa_mpvpe_mm"]
        assert low <= line["pa_mpvpe_mm"] <= high
        assert "PA hands" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("name", "named"), [("synthbody", ()), ("synthbody-varied", ("--dataset", "SynthBody-Varied"))]
    )
    def test_synthbody_takes_the_same_path(
        self,
        tmp_path: Path,
        checkpoint: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        named: tuple[str, ...],
    ) -> None:
        monkeypatch.setattr(synthbody, "OFFICIAL_COUNT", 2)
        monkeypatch.setattr(FOLDER.__class__, "SET", name)
        monkeypatch.setenv("SHARED_TMU_CACHE", str(tmp_path / "cache"))
        flags = (*named, "--checkpoint", checkpoint, "--results", tmp_path, "--device", "cpu", "--rounds", 0)
        assert self.run(*flags, "--r", "20x3") == 0
        (line,) = self.lines(tmp_path)
        assert (line["dataset"], line["n"], line["parts"]) == (name, 2, "by skinning weights")
        assert line["pa_mpvpe_mm"] > 0
        assert self.run(*flags, "--r", "20x3", "--smplx_path", tmp_path) == 1  # other vertices
