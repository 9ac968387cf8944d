"""try_training.py with a toy train.py: order, stops, resuming, and a table of paired differences."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import try_training
import update_tables
from bundled import BUNDLED, Bundled
from training_parts import slices, trials, trying
from training_parts.keeping import STOP
from training_parts.trial_errors import ERROR, errors_folder
from training_parts.trial_table import mean_over, trial_lines
from training_parts.trials import BASELINE, frozen_sets, list_trials

from shared_tmu.errors import InputError, TrainingError
from shared_tmu.evaluation.per_sample import PerSample, read_per_sample, write_per_sample
from shared_tmu.programs.results import read_records
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.drawing import Scenes

TOY = """
import json, signal, sys, time
from pathlib import Path
given = dict(word.lstrip("+").split("=", 1) for word in sys.argv[1:] if "=" in word)
out = Path(given["out"].strip("'"))
with (out.parent / "started").open("a") as file:
    file.write(json.dumps(given) + "\\n")
if "fail" in given:
    sys.exit("ConfigError: asked to fail")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
step = out / "step"
while (done := int(step.read_text()) if step.exists() else 0) < 5:
    time.sleep(float(given.get("sleep", "0")))
    step.write_text(str(done + 1))
rows = [("half", 8000, 100), ("half", 16000, 200), ("half", 24000, 9999), ("whole", 8000, 200)]
text = "stage,step,images,seconds,val/pa_mpvpe_mm\\n"
text += "".join(f"{s},{i // 32},{i},{t},15\\n" for s, i, t in rows)
(out / "curve.csv").write_text(text)
(out / "whole").mkdir(exist_ok=True)
export = Path(given["export_to"].strip("'"))
export.mkdir(exist_ok=True)
(export / "toy.safetensors").write_text("weights")
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """State and cache, with one shard, beside a toy model."""
    model = tmp_path / "toy_TMU"
    model.mkdir()
    (model / "train.py").write_text(TOY)
    toy = Bundled("Toy", model, "toy", "toy.safetensors", "synthhand")
    monkeypatch.setitem(BUNDLED, "hamer", toy)
    monkeypatch.setattr(slices, "_humble", lambda: None)
    monkeypatch.setattr(trying, "find_program", lambda stem: None)
    monkeypatch.setattr(trying, "measure", fake_errors)
    shard = tmp_path / "cache" / "synthhand-31-b824cf88"
    shard.mkdir(parents=True)
    (shard / "00000.npz").touch()
    monkeypatch.setattr(trying, "VAL_COUNT", 40)
    return tmp_path / "state", tmp_path / "cache"


def fake_errors(program, exported, weights, cache, sets):
    """A better variant is 1 mm better on every picture; its average another 0.1 mm."""
    trial = exported.parent.parent
    told, found = json.loads((trial / "trial.json").read_text()), {}
    rng = np.random.default_rng(told["seed"])
    for kind in weights:
        for which, scenes in sets.items():
            errors = 15 + rng.normal(size=scenes.count) - ("better" in told["variant"])
            errors = errors - 0.1 * (kind == "average")
            rng = np.random.default_rng(told["seed"])
            samples = tuple(map(str, range(scenes.count)))
            folder = errors_folder(trial, kind, which)
            folder.mkdir(parents=True)
            run = PerSample(samples, samples, {ERROR: errors, "wrist_mpvpe_mm": errors * 2}, {"dataset": "x"})
            write_per_sample(folder, run)
            found[kind, which] = read_per_sample(folder)
    return found


def go(folders, *flags: str) -> int:
    state, cache = folders
    return try_training.main(["--state", str(state), "--cache", str(cache), *flags])


def started(folders) -> list[dict[str, str]]:
    path = folders[0] / "60000" / "started"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


SIZE = ("--pictures", "60000")
BETTER = ("--set", "better", "stages.half.lr=0.002")


def test_every_variant_runs_once_with_each_seed_and_the_table_compares_pairs(folders, capsys):
    flags = (*SIZE, *BETTER, "--variant", f"{BASELINE},better")
    assert go(folders, *flags) == 0
    lines = started(folders)
    seeds = [line["setting.seed"] for line in lines]
    assert seeds == ["100", "100", "200", "200"]
    assert [line.get("stages.half.lr") for line in lines] == [None, "0.002"] * 2
    assert {line["stages.half.images"] for line in lines} == {"48000"}
    assert {line["stages.whole.images"] for line in lines} == {"12000"}
    assert {line["stages.half.count"] for line in lines} == {"500"}
    told = capsys.readouterr().out
    assert "pictures of each run: 60000; differences from: present; samples: 40" in told
    rows = [[cell.strip() for cell in line.split("|")] for line in told.splitlines() if "| own" in line]
    assert [row[1] for row in rows] == [BASELINE, "better"]
    assert rows[0][5] == ""
    assert rows[1][5] == "-1.00 (-1.00 to -1.00) better"
    assert rows[1][6] == "-1.00, -1.00"
    average = [line for line in told.splitlines() if "| average" in line]
    assert "-0.10 (-0.10 to -0.10) better" in average[0]
    assert "-1.10 (-1.10 to -1.10) better" in average[1]
    assert go(folders, *flags) == 0
    assert len(started(folders)) == 4
    assert go(folders, *flags, "--table") == 0
    assert "-1.10" in capsys.readouterr().out
    assert go(folders, *flags, "--table", "--against", "better") == 0
    told = capsys.readouterr().out
    assert "differences from: better" in told
    assert "+1.00 (+1.00 to +1.00) worse" in told


def test_what_was_found_is_published_line_by_line(folders, monkeypatch, tmp_path):
    monkeypatch.setattr(try_training.update_tables, "main", lambda _: 0)
    path = tmp_path / "trials.jsonl"
    monkeypatch.setattr(Bundled, "lines", lambda self, what: path)
    monkeypatch.setattr(trying, "describe_environment", lambda *_: {"commit": "first"})
    flags = (*SIZE, *BETTER, "--seeds", "1", "--variant", f"{BASELINE},better")
    assert go(folders, *flags) == 0
    assert not path.exists()
    with pytest.raises(InputError, match="no trial is finished: run it with --cache DIR"):
        go(folders, *SIZE, "--seeds", "9", "--publish")
    for _ in range(2):
        assert go(folders, *flags, "--publish") == 0
        lines = read_records(path)
        assert [(x["variant"], x["weights"]) for x in lines] == [
            (BASELINE, "own"), (BASELINE, "average"), ("better", "own"), ("better", "average"),
        ]  # fmt: skip
    assert lines[2]["settings"] == ["stages.half.lr=0.002"]
    assert lines[2]["pictures_per_s"] == pytest.approx(67, abs=0.5)  # a pause at the end does not count
    shown = update_tables.make_table(update_tables.read_results(path))
    assert "| better | own | 1 | " in shown
    where = folders[0] / "60000" / "better-1" / "environment.json"
    assert {line["commit"] for line in lines} == {"first"}
    monkeypatch.setattr(trying, "describe_environment", lambda *_: {"commit": "second"})
    assert go(folders, *SIZE, *BETTER, "--variant", f"{BASELINE},better") == 0
    assert go(folders, *SIZE, *BETTER, "--variant", "better", "--publish") == 0
    assert [line["commit"] for line in read_records(path)] == ["first, second"] * 4
    where.unlink()
    with pytest.raises(InputError, match="'better' do not tell at which commit they were measured"):
        go(folders, *flags, "--publish")


def test_lines_of_other_seeds_stay(folders, monkeypatch, tmp_path):
    """Runs of a seed may be gone when the next seed is published, as on another machine."""
    monkeypatch.setattr(try_training.update_tables, "main", lambda _: 0)
    path = tmp_path / "trials.jsonl"
    monkeypatch.setattr(Bundled, "lines", lambda self, what: path)
    assert go(folders, *SIZE, *BETTER, "--variant", f"{BASELINE},better") == 0
    for seeds, told in (("1", [[1]]), ("2", [[1], [2]]), ("1,2", [[1, 2]]), ("2", [[1, 2], [2]])):
        assert go(folders, *SIZE, "--seeds", seeds, "--variant", BASELINE, "--publish") == 0
        lines = [line for line in read_records(path) if line["weights"] == "own"]
        assert [line["seeds"] for line in lines] == told
    shown = update_tables.read_results(path)
    assert [run["seeds"] for run in shown if run["weights"] == "own"] == [[1, 2], [2]]


def test_a_file_stops_it_and_the_same_command_goes_on(folders):
    state = folders[0]
    flags = (*SIZE, "--seeds", "1", "--set", "slow", "sleep=0.3", "--variant", "slow")
    step = state / "60000" / "slow-1" / "step"

    def stop() -> None:
        while not step.exists():
            time.sleep(0.02)
        (state / STOP).touch()

    threading.Thread(target=stop, daemon=True).start()
    assert go(folders, *flags) == 0
    assert int(step.read_text()) < 5
    assert not (state / STOP).exists()
    assert not (state / "60000" / "slow-1" / "errors").exists()
    assert go(folders, *flags) == 0
    assert (state / "60000" / "slow-1" / "errors" / "own-held-out" / "per_sample.parquet").exists()
    first, second = started(folders)
    assert first == second


def test_later_scenes_do_not_join(folders):
    assert go(folders, *SIZE, "--seeds", "1") == 0
    (folders[1] / "synthhand-31-b824cf88" / "00001.npz").touch()
    assert go(folders, *SIZE, "--seeds", "2") == 0
    assert {line["stages.half.count"] for line in started(folders)} == {"500"}


def test_other_settings_under_the_same_name_are_refused(folders):
    assert go(folders, *SIZE, *BETTER, "--seeds", "1", "--variant", "better") == 0
    with pytest.raises(InputError, match=r"better-1 was begun with .*0\.002.* another name"):
        go(folders, *SIZE, "--set", "better", "stages.half.lr=0.001", "--seeds", "1", "--variant", "better")


def test_a_run_that_fails_is_named_with_its_log(folders):
    with pytest.raises(TrainingError, match=r"'bad' with seed 1 failed \(exit status 1\).*train\.log"):
        go(folders, *SIZE, "--set", "bad", "fail=1", "--variant", "bad")
    log = folders[0] / "60000" / "bad-1" / "train.log"
    assert "asked to fail" in log.read_text()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--variant", "nothing"], "no variant 'nothing'"),
        (["--against", "nothing"], "no variant 'nothing'"),
        (["--seeds", "0"], "--seeds '0' is no seed"),
        (["--seeds", "1,x"], "--seeds 'x' is no seed"),
        (["--pictures", "100"], "--pictures 100 is too small"),
        (["--state", str(Path(__file__).parent / "trials")], "inside the repository"),
    ],
)
def test_what_cannot_be_tried_is_refused(folders, flags, told):
    with pytest.raises(InputError, match=told):
        go(folders, *flags)


def test_without_scenes_it_says_how_to_draw_them(tmp_path):
    with pytest.raises(InputError, match=r"make_shards\.py"):
        frozen_sets(tmp_path, [])
    mixed = Difficulty(variety=0.5, alike=0.4, other_hand=0.15)
    sets = [Scenes(7, 500, Difficulty(variety=0.4)), Scenes(8, 500, mixed)]
    assert frozen_sets(tmp_path, sets) == sets == frozen_sets(tmp_path, [])


def test_every_variant_is_a_recipe_that_train_py_reads(tmp_path):
    from hydra import compose, initialize_config_dir

    from shared_tmu.training.recipes import check_stages, read_recipe

    sets = [Scenes(7, 500, Difficulty(variety=0.4)), Scenes(9, 1000, Difficulty())]
    configs = BUNDLED["hamer"].folder / "configs"
    for trial in list_trials(trials.VARIANTS, list(trials.VARIANTS), [1], 60_000):
        words = trial.command(tmp_path, tmp_path / "cache", sets)[4:]
        with initialize_config_dir(str(configs), version_base="1.3"):
            recipe = read_recipe(compose("trial", overrides=words))
        check_stages(recipe.run, recipe.setting)
        assert [stage.name for stage in recipe.run] == ["half", "whole"]
        assert sum(stage.images for stage in recipe.run) == 60_000
        assert all(stage.sets == sets for stage in recipe.run)


def test_the_mean_over_seeds_is_of_the_same_samples():
    runs = [
        PerSample(names, names, {ERROR: np.array(values)}, {})
        for names, values in ((("a", "b"), [1.0, 2.0]), (("b", "a"), [4.0, 3.0]))
    ]
    np.testing.assert_array_equal(mean_over(runs).errors[ERROR], [2.0, 3.0])


def test_a_table_does_not_show_the_errors_of_other_settings(tmp_path):
    (begun,) = list_trials({"lr": ["stages.half.lr=0.002"]}, ["lr"], [1], 60_000)
    begun.begin(tmp_path)
    (asked,) = list_trials({"lr": ["stages.half.lr=0.01"]}, ["lr"], [1], 60_000)
    with pytest.raises(InputError, match=r"was begun with .*0\.002.*but lr is now .*0\.01"):
        trial_lines([asked], tmp_path, ["own"])
    assert trial_lines([begun], tmp_path, ["own"], "lr") == []


def test_a_table_waits_for_errors_that_are_being_measured(tmp_path):
    first, second, third = list_trials({"lr": []}, ["lr"], [1, 2, 3], 60_000)
    errors = {ERROR: np.array([1.0]), "wrist_mpvpe_mm": np.array([2.0])}
    for trial, measured in ((first, ("held-out", "seen")), (second, ("held-out",)), (third, ())):
        trial.begin(tmp_path)
        for which in ("held-out", "seen")[: len(measured) + 1]:
            folder = errors_folder(trial.folder(tmp_path), "own", which)
            folder.mkdir(parents=True)
            if which in measured:
                write_per_sample(folder, PerSample(("a",), ("a",), errors, {}))
    (line,) = trial_lines([first, second, third], tmp_path, ["own"], "lr")
    assert (line["seeds"], line["seen_mm"]) == ([1, 2], None)
    (line,) = trial_lines([first, third], tmp_path, ["own"], "lr")
    assert (line["seeds"], line["seen_mm"]) == ([1], 1.0)
