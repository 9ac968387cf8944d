"""measure_columns.py with an eval.py that only writes lines."""

import json
from pathlib import Path

import bundled
import evaluate_bundled
import measure_columns
import pytest
from bundled import BUNDLED, Bundled

from shared_tmu.errors import ScheduleError
from shared_tmu.programs.identity import file_sha256


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundled:
    monkeypatch.setattr(bundled, "REPOSITORY", tmp_path)
    folder = tmp_path / "Toy_TMU"
    for place in (tmp_path / "assets", folder / "weights", folder / "results"):
        place.mkdir(parents=True)
    (folder / "weights" / "toy.safetensors").write_bytes(b"weights")
    model = Bundled("Toy", folder, "toy", "toy.safetensors", "synthhand")
    monkeypatch.setitem(BUNDLED, "toy", model)
    monkeypatch.setattr(measure_columns.figures, "redraw", lambda files: 0)
    monkeypatch.setattr(evaluate_bundled, "run_all", lambda model, commands, jobs: write(model, commands))
    return model


def write(model: Bundled, commands) -> int:
    """Write what eval.py would, after lines of other samples, another limit and older ones."""
    for flags in commands:
        pairs = [text for text in flags if text != "--no-unmerge"]
        given = dict(zip(pairs[::2], pairs[1::2], strict=True))
        dataset = given.get("--dataset", "synthhand")
        limit = int(given["--limit"]) if "--limit" in given else None
        for schedule in given["--r"].split(","):
            line = {"model": "Toy", "dataset": dataset, "dtype": "float32", "schedule": schedule}
            line |= {"method": given.get("--method", "tome"), "unmerge": "--no-unmerge" not in flags}
            line |= {"tokens_kept": 9, "checkpoint_sha256": file_sha256(model.checkpoint), "limit": limit}
            count = limit or 13  # fewer than are to be moved
            line |= {"dataset_sha256": "new", "n": count, "age": "new"}
            line |= {"stability_n": min(count, int(given["--stability"]))}
            fewer = {"limit": 3, "n": 3, "stability_n": 3}
            others = [{"dataset_sha256": "old"}, fewer, {"stability_n": None}, {"mask": "box"}]
            with model.results(dataset).open("a") as file:
                for more in [{"age": "old"}, {}, *({**other, "age": "other"} for other in others[1:])]:
                    file.write(json.dumps(line | more) + "\n")
            text = model.results(dataset).read_text()
            model.results(dataset).write_text(json.dumps(line | others[0] | {"age": "other"}) + "\n" + text)
    return 0


def test_every_way_at_every_schedule_newest_lines_of_the_asked_samples_only(toy, tmp_path):
    photos = tmp_path / "photos"
    flags = ["--model", "toy", "--r", "off, 8x16,5x20", "--photos", str(photos), "--limit", "7"]
    assert measure_columns.main(flags) == 0
    lines = [json.loads(line) for line in toy.lines("columns").read_text().splitlines()]
    found = [(line["dataset"], line["schedule"], line["method"], line["unmerge"]) for line in lines]
    ways = (("tome", True), ("tome", False), ("random", True))
    of_one = [("off", "tome", True), *((schedule, *way) for way in ways for schedule in ("5x20", "8x16"))]
    assert found == [(name, *rest) for name in ("synthhand", "photos") for rest in of_one]
    assert {line["age"] for line in lines} == {"new"}
    assert {line["kind"] for line in lines} == {"columns"}


def test_off_alone_has_nothing_to_compare_and_an_unreadable_schedule_is_refused_before_it_runs(toy):
    assert measure_columns.main(["--model", "toy", "--r", "off"]) == 0
    assert len(toy.lines("columns").read_text().splitlines()) == 1
    with pytest.raises(ScheduleError, match="8y4"):
        measure_columns.main(["--model", "toy", "--r", "off,8y4"])
