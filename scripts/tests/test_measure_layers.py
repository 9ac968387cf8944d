"""measure_layers.py: a line for all layers and one for each bound, with the search, and their table."""

import json
from pathlib import Path

import measure_layers
import pytest
import torch
import update_tables
from bundled import Bundled
from safetensors.torch import save_file

from shared_tmu.layers import METADATA, LayerRecipe
from shared_tmu.programs.identity import file_sha256

RECIPE = LayerRecipe(((0, 0), (1, 2), (3, 3)), "eq4", "abc")
TRIALS = [
    {"first": 2, "last": 3, "error_mm": None, "passed": False},
    {"first": 1, "last": 2, "error_mm": 9.9, "passed": True},
    {"first": 0, "last": 2, "error_mm": 30.0, "passed": False},
]
SEARCH = {
    **{"layers_before": 4, "metric": "pa_mpvpe_mm", "flush": True, "base_mm": 10.0, "error_mm": 9.9},
    **{"calibration": {"dataset": "synthhand-calib", "n": 2}, "trials": TRIALS, "commit": "b"},
    "more": 1,
}


@pytest.fixture
def model(tmp_path: Path) -> Bundled:
    found = Bundled("HaMeR", tmp_path, "hamer", "hamer_thin.safetensors", "synthhand")
    found.checkpoint.parent.mkdir()
    found.checkpoint.write_bytes(b"weights")
    return found


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    path = tmp_path / "fewer.safetensors"
    save_file({"x": torch.zeros(1)}, path, {METADATA: json.dumps({**RECIPE.to_dict(), **SEARCH})})
    return path


def write_evaluation(model: Bundled, *layers: LayerRecipe | None, limit: int = 2) -> None:
    lines = []
    for recipe in layers:
        more = {} if recipe is None else {"layers": recipe.to_dict()}
        base = dict.fromkeys(measure_layers.KEPT, 1.0) | {
            **{"model": "HaMeR", "dataset": "synthhand", "device": "cpu", "dtype": "float32"},
            **{"schedule": "off", "mask": "none", "method": "tome", "unmerge": True, "protect": "first"},
            **{"n": limit, "checkpoint_sha256": file_sha256(model.checkpoint), "commit": "c"},
            **{"versions": {}, "machine": {}, "pa_mpvpe_mm": 11.25 if recipe is None else 11.5},
        }
        change = None if recipe is None else {"pa_mpvpe_mm": [0.125, 0.5]}
        intervals = {"interval_95": {"pa_mpvpe_mm": [11.0, 12.0]}, "minus_off_interval_95": change}
        lines.append(json.dumps(base | more | intervals))
    path = model.results(model.dataset)
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_a_line_for_each_bound_tells_the_whole_search(model: Bundled, merged: Path, tmp_path: Path) -> None:
    write_evaluation(model, None, RECIPE)
    lines = measure_layers.combine(model, {"0.1": None, "0.5": merged, "1": merged}, 2)
    assert [(x["threshold_mm"], x["depth"], x["more_mm"]) for x in lines] == [
        (None, None, 0.0), (0.1, None, 0.0), (0.5, 3, 0.25), (1.0, 3, 0.25),
    ]  # fmt: skip
    assert lines[2]["search"]["trials"] == TRIALS
    assert lines[2]["search"]["partition"] == [[0, 0], [1, 2], [3, 3]]
    assert "more" not in lines[2]["search"]
    (tmp_path / "hamer_layers.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    page = tmp_path / "README.md"
    page.write_text("<!-- results:begin hamer_layers.jsonl -->\n<!-- results:end -->\n")
    assert update_tables.main([str(page)]) == 0
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| - | all | - | - | - | 11.25 |  | 1.0 |",
        "| 0.1 | all | nothing | - | - | 11.25 |  | 1.0 |",
        "| 0.5 | 3 | 1-2 | 1 of 3 | -0.100 | 11.50 | +0.12 to +0.50 | 1.0 |",
        "| 1 | 3 | 1-2 | 1 of 3 | -0.100 | 11.50 | +0.12 to +0.50 | 1.0 |",
    ]


def test_what_was_not_measured_or_with_other_weights_is_refused(model: Bundled, merged: Path) -> None:
    write_evaluation(model, None)
    with pytest.raises(ValueError, match=r"no line of .*fewer\.safetensors"):
        measure_layers.combine(model, {"0.5": merged}, 2)
    write_evaluation(model, None, RECIPE)
    with pytest.raises(ValueError, match="--layers none"):
        measure_layers.combine(model, {"0.5": merged}, 3)
    model.checkpoint.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="--layers none"):
        measure_layers.combine(model, {"0.5": merged}, 2)
