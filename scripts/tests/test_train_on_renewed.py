"""train_on.py after a mistake on its command line, and with weights that come from elsewhere."""

import json
from pathlib import Path

import pytest
import torch
from bundled import BUNDLED
from test_train_on import go, started
from toy_training_on import make_toys
from training_parts import running
from training_parts.keeping import LOCK, is_locked, locked, read_state
from training_parts.records import merged_record
from training_parts.running import Options, TrainingOn
from training_parts.scenes import find_sets

from shared_tmu.errors import TrainingError
from shared_tmu.files.checkpoints import save_safetensors


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_toys(tmp_path / "toys", monkeypatch)


def test_a_round_without_progress_begins_again_with_the_settings_of_now(state, monkeypatch):
    whole = (BUNDLED["one"].folder / "train.py").read_text()
    (BUNDLED["one"].folder / "train.py").write_text("raise SystemExit('setting.emma does not exist')")
    with pytest.raises(TrainingError, match="emma does not exist"):
        go(state, more=["setting.emma=0.999"])
    assert read_state(state).models["one"].open is not None
    (BUNDLED["one"].folder / "train.py").write_text(whole)
    found = go(state, more=["setting.ema=0.999"]).state.models["one"]
    assert (found.rounds, found.last_round) == ([1], 1)
    (line,) = started(state, "one")
    assert (line.get("setting.ema"), line.get("setting.emma")) == ("0.999", None)


def test_better_shipped_weights_are_taken_up_and_older_ones_are_not(state):
    go(state)
    weights = BUNDLED["one"].checkpoint
    record = json.loads(weights.with_suffix(".training.json").read_text())
    weights.write_bytes(b"other")
    older = TrainingOn(Options(state, state / "cache", list(BUNDLED))).state.models["one"]
    assert older.rounds == [1]
    record["total"]["images_seen"] = 99_999
    weights.with_suffix(".training.json").write_text(json.dumps(record))
    newer = TrainingOn(Options(state, state / "cache", list(BUNDLED))).state.models["one"]
    assert (newer.rounds, newer.pictures, newer.last_round) == ([], 99_999, 1)


def test_scenes_that_weights_from_elsewhere_have_seen_are_not_fresh(state):
    before = go(state, rounds=2).state.drawing["hand"]
    drawn = {one.seed for one in find_sets(state / "cache", "hand")}
    for name in ("one", "two"):  # another machine drew the same scenes, and shipped
        weights = BUNDLED[name].checkpoint
        save_safetensors({"w": torch.full((1,), 5.0 + len(name) + ord(name[0]))}, weights, {})
        record = {
            "total": {"images_seen": 10**6, "images_seen_before": 0, "seconds": 10**4},
            "validation": {"last": {"val/pa_mpvpe_mm": 11.0}},
            "stages": [{"seed": seed} for seed in sorted(drawn)],
        }
        weights.with_suffix(".training.json").write_text(json.dumps(record))
    training = TrainingOn(Options(state, state / "cache", ["one", "two"], round_s=1e6))
    after = training.state.drawing["hand"]
    assert drawn <= set(after.known)
    assert set(before.known) <= set(after.known)
    assert after.seed not in drawn
    assert training._stock("hand").fresh == 0
    again = TrainingOn(Options(state, state / "cache", ["one", "two"], round_s=1e6))
    assert again.state.drawing["hand"] == after


def test_failures_of_training_are_not_forgotten_while_scenes_are_drawn(state):
    training = TrainingOn(Options(state, state / "cache", ["one"], round_s=1e6))
    log = state / "log"
    log.write_text("the loss is not finite")

    def fail_and_draw() -> None:
        training._check("one", running.Slice(1, 600.0, False), log, is_good=False)
        training._check("drawing", running.Slice(0, 225.0, False), log, is_good=True)

    fail_and_draw()
    fail_and_draw()
    with pytest.raises(TrainingError, match=r"failed 3 times in a row.*the loss is not finite"):
        fail_and_draw()


def test_asking_for_the_state_writes_nothing(tmp_path):
    assert not is_locked(tmp_path)
    assert not list(tmp_path.iterdir())
    with locked(tmp_path):
        assert is_locked(tmp_path)
    (tmp_path / LOCK).chmod(0o444)
    assert not is_locked(tmp_path)


def test_a_record_counts_the_scenes_that_were_seen():
    other = {"seed": 2, "count": 25_000}
    stage = {"name": "a", "images_seen": 16_000, "seed": 1, "count": 75_000, "also": [other]}
    record = {"stages": [stage], "total": {"images_seen": 16_000, "seconds": 1.0}}
    assert merged_record([record], 0)["total"]["scenes"] == 16_000
    longer = {**record, "stages": [{**stage, "images_seen": 300_000}]}
    assert merged_record([record, longer], 0)["total"]["scenes"] == 100_000
