"""What every folder's eval.py does, on this folder's model; and the set that makes itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder import FOLDER
from official_sets import write_ehf
from suites.evaluation import COUNT, EvalSuite

from shared_tmu.datasets import synthbody
from shared_tmu.evaluation.per_sample import read_per_sample


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
        per_sample = read_per_sample(folder)
        assert per_sample.samples == ("01", "02", "03")
        assert per_sample.errors["pa_mpvpe_mm"].mean() == pytest.approx(line["pa_mpvpe_mm"], abs=1e-9)
        low, high = line["interval_95"]["pa_mpvpe_mm"]
        assert low <= line["pa_mpvpe_mm"] <= high
        assert "PA hands" in capsys.readouterr().out

    def test_ehf_in_its_official_layout(
        self, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = ("--dataset", "ehf", "--data_dir", tmp_path, *write_ehf(tmp_path, 2), "--rounds", 0)
        given = (*flags, "--results", tmp_path, "--device", "cpu")
        assert self.run(*given, "--checkpoint", checkpoint, "--r", "20x3") == 0
        (line,) = self.lines(tmp_path)
        assert (line["parts"], line["boxes"], line["n"]) == ("official", "EHF.json", 2)
        rows = read_per_sample(tmp_path / line["files"])
        assert {"scale_error_pct", "place_error_pct", "orientation_error_deg"} <= set(rows.errors)
        before = capsys.readouterr().out.splitlines()
        predictions = tmp_path / line["files"] / "pred.npz"
        assert self.run(*given, "--predictions", predictions) == 0
        assert f"{line['pa_mpvpe_mm']:.2f}" in capsys.readouterr().out
        assert any("PA hands" in text for text in before)

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
