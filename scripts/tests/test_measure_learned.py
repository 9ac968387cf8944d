"""measure_learned.py: which lines it compares, and the table that it fills."""

import json
from pathlib import Path

import bundled
import measure_learned
import numpy as np
import pytest
import update_tables
from bundled import Bundled
from evaluate_bundled import write_lines
from method_ways import flops_of

from shared_tmu.errors import TMUError
from shared_tmu.evaluation.learned_costs import BlockCosts
from shared_tmu.evaluation.per_sample import PerSample, write_per_sample
from shared_tmu.files.checkpoints import save_safetensors
from shared_tmu.flops import TrunkShape
from shared_tmu.programs.identity import file_sha256
from shared_tmu.schedule import Schedule


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundled:
    monkeypatch.setattr(bundled, "REPOSITORY", tmp_path)
    folder = tmp_path / "Toy_TMU"
    (folder / "weights").mkdir(parents=True)
    (folder / "results").mkdir()
    (tmp_path / "assets").mkdir()
    (folder / "weights" / "toy.safetensors").write_bytes(b"weights")
    facts = {"method": "ltmp", "schedule": "threshold:0.8", "recipe": json.dumps({"r": "10x16"})}
    save_safetensors({}, folder / "weights" / "toy.ltmp.safetensors", facts)
    return Bundled("Toy", folder, "toy", "toy.safetensors", "synthhand")


def keep(
    model: Bundled,
    schedule: str,
    digest: str | None,
    errors: list[float],
    n: int = 3,
    method: str = "ltmp",
    **changes: object,
) -> None:
    """What eval.py keeps of a run."""
    name = f"{n}-{method}-{schedule.replace(':', '-')}-{digest}-{len(changes)}"[:120]
    about = {"model": "Toy", "dataset": "synthhand", "label": schedule}
    rows = PerSample(("a", "b", "c"), ("a", "b", "c"), {"pa_mpvpe_mm": np.array(errors)}, about)
    write_per_sample(model.folder / "results" / name, rows)
    line = {
        **{"model": "Toy", "dataset": "synthhand", "device": "cpu", "dtype": "float32", "method": method},
        **{"unmerge": True, "protect": "first", **changes},
        **{"schedule": schedule, "checkpoint_sha256": file_sha256(model.checkpoint), "n": n, "files": name},
        **{"machine": {"processor": "x"}, "versions": {}, "commit": "c"},
        **({} if digest is None else {"learned_sha256": digest}),
    }
    with model.results("synthhand").open("a") as file:
        file.write(json.dumps(line) + "\n")


COSTS = {
    "learned": BlockCosts(Schedule.parse("threshold:0.8"), 70.0, 30.0, 0.34),
    "untrained": BlockCosts(Schedule.parse("threshold:0.7"), 71.0, 32.0, 0.35),
    "tome": BlockCosts(Schedule.parse("9x16"), 72.0, 33.0, 0.36),
}


def test_the_learned_file_is_compared_with_the_untrained_method_and_tome(
    toy: Bundled, tmp_path: Path
) -> None:
    (path,) = measure_learned.learned_files(toy, toy.checkpoint.parent).values()
    digest = file_sha256(path)
    keep(toy, "threshold:0.7", None, [5.0, 6.0, 7.0])
    keep(toy, "threshold:0.8", "of another file", [9.0, 9.0, 9.0])
    keep(toy, "threshold:0.8", digest, [4.0, 5.0, 6.5])
    keep(toy, "9x16", None, [3.0, 3.0, 4.5], method="tome")
    keep(toy, "threshold:0.8", digest, [0.0, 0.0, 0.0], n=2)
    keep(toy, "threshold:0.8", digest, [0.0, 0.0, 0.0], mask="probe")
    keep(toy, "9x16", None, [0.0, 0.0, 0.0], method="tome", unmerge=False)
    line = measure_learned.compare(toy, "ltmp", path, COSTS, 3)
    assert (line["untrained_mm"], line["verdict"]) == (6.0, "better")
    assert line["minus_untrained_mm"] == pytest.approx(-5 / 6)
    assert line["minus_tome_mm"] == pytest.approx(5 / 3)
    assert (line["schedule"], line["untrained_schedule"]) == ("learned", "threshold:0.7")
    lines = tmp_path / "assets" / "toy_learned.jsonl"
    write_lines(lines, [line])
    table = update_tables.make_table(update_tables.read_results(lines))
    assert "| yes | 70.0 | 34.0 | 5.17 | threshold:0.7 | 71.0 | 35.0 | 6.00 |" in table
    assert "| better | 9x16 | 36.0 | 3.50 |" in table
    with pytest.raises(TMUError, match="no line of ltmp"):
        measure_learned.compare(toy, "ltmp", path, COSTS, 7)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_tome_gets_even_counts_that_cost_no_less_and_hardly_more(share: float) -> None:
    shape, whole = TrunkShape(32, 64, 192, 0), flops_of("tome", "off", TrunkShape(32, 64, 192, 0))
    found = measure_learned.even_counts(Schedule.parse("10x16"), share, shape)
    counts = [int(asked) for asked in found.per_layer(32)]
    assert counts[16:] == [0] * 16
    assert max(counts[:16]) - min(counts[:16]) <= 1
    assert share <= flops_of("tome", str(found), shape) / whole < share + 0.01
