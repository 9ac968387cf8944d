"""What the digest of the code is of: finished work is reused only if it matches."""

from pathlib import Path

import pytest

import shared_tmu
from shared_tmu.programs.identity import code_sha256


@pytest.mark.parametrize(
    ("place", "decides"),
    [
        ("evaluation/budget/judge.py", True),
        ("evaluation/masking.py", True),
        ("programs/model_program.py", True),
        ("detect/landmarks.py", True),
        ("methods/tome.py", True),
        ("demo/run.py", False),
        ("viz/images.py", False),
    ],
)
def test_it_changes_with_all_code_that_decides_a_result(tmp_path, monkeypatch, place, decides):
    file = tmp_path / "shared_tmu" / place
    file.parent.mkdir(parents=True)
    file.write_text("a = 1\n")
    monkeypatch.setattr(shared_tmu, "__file__", str(tmp_path / "shared_tmu" / "__init__.py"))
    before = code_sha256(tmp_path / "model")
    file.write_text("a = 2\n")
    assert (code_sha256(tmp_path / "model") != before) == decides


def test_no_evaluation_runs_what_is_left_out():
    core = Path(shared_tmu.__file__).parent
    for file in (*(core / "evaluation").rglob("*.py"), *(core / "programs").rglob("*.py")):
        text = file.read_text()
        assert not any(f"shared_tmu.{part}" in text for part in ("bench", "demo", "synth", "viz")), file
