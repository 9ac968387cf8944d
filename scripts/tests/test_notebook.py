"""The notebook: it has no outputs in it, and runs from the first cell to the last."""

import json
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "shared_tmu/notebooks/merging.ipynb"


def test_it_holds_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


def run_notebook(folder: Path) -> Any:
    """The notebook after a run in an empty folder, as a user has it."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel, of shared_tmu[dev]")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel, of shared_tmu[dev]")
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()


def test_it_runs_and_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(entry.name == "hamer" for entry in entry_points(group="shared_tmu.models")):
        pytest.skip("needs HaMeR_TMU: pip install ./HaMeR_TMU")
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    done = run_notebook(tmp_path)
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "[192, 172, 152, 132, 112, 92, 72, 72, 72]" in text
    assert "groups in the first picture: 72" in text
    assert "Hand(right" in text
    assert "instead of" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert list(tmp_path.iterdir()) == []
