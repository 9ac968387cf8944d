"""check_cards.py and evaluate_bundled.py on a folder whose eval.py only writes lines; and the real list."""

import json
import re
from pathlib import Path

import bundled
import check_cards
import evaluate_bundled
import pytest
from bundled import BUNDLED, Bundled
from cards import read_published

from shared_tmu.programs.identity import file_sha256

# Writes what eval.py would: 10 mm for `off`, 1 mm more for each letter of a schedule, 5 more for a control.
EVAL = """
import argparse, hashlib, json, pathlib
parser = argparse.ArgumentParser()
for flag in ("r", "rounds", "device", "results", "data_dir"):
    parser.add_argument(f"--{flag}")
parser.add_argument("--dataset", default="synthhand")
parser.add_argument("--method", default="tome")
parser.add_argument("--protect", default="first")
parser.add_argument("--no-unmerge", action="store_true")
given = parser.parse_args()
weights = hashlib.sha256(pathlib.Path("weights/toy.safetensors").read_bytes()).hexdigest()
folder = pathlib.Path(given.results or "results")
folder.mkdir(exist_ok=True)
control = given.method != "tome" or given.protect != "first" or given.no_unmerge
with (folder / f"toy-{given.dataset}.jsonl").open("a") as file:
    for schedule in given.r.split(","):
        error = 10.0 + (schedule != "off") * len(schedule) + 5 * control
        line = {"model": "Toy", "dataset": given.dataset, "dtype": "float32", "schedule": schedule}
        line |= {"method": given.method, "unmerge": not given.no_unmerge, "protect": given.protect}
        line |= {"pa_mpvpe_mm": error, "tokens_kept": 92, "limit": None, "dataset_sha256": "d", "commit": "c"}
        line |= {"speedup": 1.5 if int(given.rounds) else None, "checkpoint_sha256": weights}
        file.write(json.dumps(line) + "\\n")
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundled:
    """A repository with one model folder."""
    monkeypatch.setattr(bundled, "REPOSITORY", tmp_path)
    folder = tmp_path / "Toy_TMU"
    (folder / "weights").mkdir(parents=True)
    (folder / "eval.py").write_text(EVAL)
    (folder / "weights" / "toy.safetensors").write_bytes(b"weights")
    model = Bundled("Toy", folder, "toy", "toy.safetensors", "synthhand")
    monkeypatch.setitem(BUNDLED, "toy", model)
    return model


def read(path: Path) -> list[tuple[str, str, bool, str, float]]:
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    return [(r["schedule"], r["method"], r["unmerge"], r["protect"], r["pa_mpvpe_mm"]) for r in runs]


def test_everything_is_measured_and_published(toy, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(evaluate_bundled.measure_tokens, "main", lambda words: done.append(words) or 0)
    monkeypatch.setattr(evaluate_bundled.update_tables, "main", lambda words: done.append("tables") or 0)
    monkeypatch.setattr(evaluate_bundled.figures, "redraw", lambda files: done.append(files) or 0)
    words = ["--model", "toy", "--photos", str(tmp_path), "--r", "off,5,5x20", "--jobs", "2"]
    assert evaluate_bundled.main(words) == 0
    assert read(toy.lines("synthhand")) == [
        ("off", "tome", True, "first", 10.0),
        ("5x20", "tome", True, "first", 14.0),
        ("5", "tome", True, "first", 11.0),
    ]
    controls = read(toy.lines("synthhand_controls"))
    assert [row[1:4] for row in controls[::2]] == [
        ("tome", False, "first"),
        ("tome", True, "last"),
        ("random", True, "first"),
    ]
    assert len(controls) == 6
    assert len(read(toy.lines("photos"))) == 3
    assert len(read(toy.lines("photos_controls"))) == 6
    assert [row[0] for row in read(toy.lines("synthhand-varied"))] == ["off", "5x20", "10x16"]
    assert not toy.lines("synthhand-varied_controls").exists()
    assert [row[0] for row in read(toy.lines("synthhand-eval-2"))] == ["off", "5x20", "5"]
    sets = ("synthhand", "synthhand-eval-2", "synthhand-varied", "photos")
    files = [toy.lines(f"{name}{part}") for name in sets for part in ("", "_controls")]
    assert done == [["--model", "toy"], [*files, toy.lines("tokens")], "tables"]


def test_only_lines_of_the_weights_that_lie_there_are_published(toy):
    assert evaluate_bundled.run_all(toy, [["--r", "off,5", "--rounds", "3"]], jobs=1) == 0
    assert evaluate_bundled.run_all(toy, [["--r", "5", "--rounds", "0"]], jobs=1) == 0
    evaluate_bundled.publish(toy, "synthhand")
    timed = [json.loads(line)["speedup"] for line in toy.lines("synthhand").read_text().splitlines()]
    assert timed == [1.5, 1.5]
    toy.checkpoint.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="has no line of the present toy"):
        evaluate_bundled.publish(toy, "synthhand")


def test_a_failure_ends_it_with_its_status(toy, monkeypatch):
    (toy.folder / "eval.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(evaluate_bundled, "publish", lambda *_: pytest.fail("nothing was measured"))
    assert evaluate_bundled.main(["--model", "toy"]) == 3


def test_models_without_task_tokens_or_hands_have_fewer_runs():
    hamer = evaluate_bundled.control_flags(BUNDLED["hamer"], "off,5", Path("pictures"))
    assert [flags[4:] for flags in hamer[:2]] == [["--no-unmerge"], ["--method", "random"]]
    assert [flags[-4:] for flags in hamer[2:]] == [["--dataset", "photos", "--data_dir", "pictures"]] * 2
    assert len(evaluate_bundled.control_flags(BUNDLED["smplest-x"], "off,5", None)) == 3
    assert not BUNDLED["smplest-x"].photos


def publish(toy: Bundled, off_mm: float) -> None:
    words = ["--r", "off,5", "--rounds", "0", "--dataset", toy.card_set]
    assert evaluate_bundled.run_all(toy, [words], jobs=1) == 0
    evaluate_bundled.publish(toy, toy.card_set)
    text = toy.lines(toy.card_set).read_text()
    toy.lines(toy.card_set).write_text(text.replace('"pa_mpvpe_mm": 10.0', f'"pa_mpvpe_mm": {off_mm}'))


@pytest.mark.parametrize(("off_mm", "status"), [(10.09, 0), (10.11, 1), (9.85, 1)])
def test_cards_hold_to_a_tenth_of_a_millimetre(toy, capfd, off_mm, status):
    publish(toy, off_mm)
    assert check_cards.main(["--model", "toy", "--r", "off,5"]) == status
    out, problems = capfd.readouterr()
    assert f"toy off pa_mpvpe_mm: 10.000, on the card {off_mm:.3f}" in out
    assert "toy 5 pa_mpvpe_mm: 11.000, on the card 11.000" in out
    assert ("mm off the card's, more than 0.1" in problems) == bool(status)


def test_cards_of_other_weights_or_without_figures_are_found(toy, capsys):
    publish(toy, 10.0)
    toy.checkpoint.write_bytes(b"other weights")
    assert check_cards.main(["--model", "toy"]) == 1
    assert "are for other weights" in capsys.readouterr().err
    assert check_cards.main(["--model", "toy", "--r", "8x16"]) == 1
    assert "the card has no figures of 8x16" in capsys.readouterr().err
    (toy.folder / "eval.py").write_text("raise SystemExit(1)")
    assert check_cards.main(["--model", "toy"]) == 1
    assert "eval.py measured nothing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["hamer", "wilor", "smplest-x"])
def test_published_lines_are_of_the_weights_that_lie_there(name):
    model = BUNDLED[name]
    weights = file_sha256(model.checkpoint)
    files = [model.lines(what) for what in (model.dataset, f"{model.dataset}_controls")]
    more = [
        model.lines(what) for what in ("photos", "photos_controls", "tokens", model.varied, model.card_set)
    ]
    for path in [*files, *(path for path in more if path.is_file())]:
        found = {json.loads(line)["checkpoint_sha256"] for line in path.read_text().splitlines()}
        assert found == {weights}, f"{path.name}: run scripts/evaluate_bundled.py --model {name}"


@pytest.mark.parametrize("name", ["hamer", "wilor", "smplest-x"])
def test_cards_show_what_lies_beside_them_and_are_linked(name):
    model = BUNDLED[name]
    card = (model.folder / "weights" / "README.md").read_text(encoding="utf-8")
    stem = model.checkpoint.stem
    blocks = re.findall("results:begin (.+) -->", card)
    lines = f"../../assets/{model.stem}_{model.dataset}"
    assert blocks[0] == f"../../assets/{model.stem}_{model.card_set}.jsonl"
    assert f"{stem}.training.json" in blocks
    assert f"{lines}.jsonl {lines}_controls.jsonl ../../assets/thesis_curves.csv" in blocks
    assert (f"../../assets/{model.stem}_photos.jsonl" in blocks) == model.photos
    assert {f"{lines}-varied.jsonl", f"../../assets/{model.stem}_history.jsonl"} < set(blocks)
    for title in ("Figures", "What it has seen", "What it cannot do", "How merging changes it"):
        assert f"\n## {title}\n" in card
    assert f"check_cards.py --model {name}" in card
    assert "[MIT](../../LICENSE)" in card
    root = bundled.REPOSITORY
    assert f"({model.folder.name}/weights/README.md)" in (root / "README.md").read_text(encoding="utf-8")
    assert "(weights/README.md)" in (model.folder / "README.md").read_text(encoding="utf-8")


def test_the_published_point_of_10x16_lies_where_the_card_says():
    """Between two schedules that leave 64 tokens, though 10x16 leaves 32."""
    path = bundled.REPOSITORY / "assets" / "thesis_curves.csv"
    errors = read_published(path, "HaMeR")
    assert errors["8x16"] < errors["10x16"] < errors["10x8+6x8"]
    schedules = list(errors)  # the table is in the order of speed
    assert schedules.index("8x16") < schedules.index("10x16") < schedules.index("10x8+6x8")
