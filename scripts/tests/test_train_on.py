"""train_on.py with toy models: rounds, turns, stops, kills, and a state that may be lost."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import train_on
from bundled import BUNDLED
from toy_training_on import SHARD, make_toys, started
from training_parts import planning, running
from training_parts.keeping import STATE, STOP, ModelState, is_locked, locked, read_state
from training_parts.rounds import Place
from training_parts.running import Options, TrainingOn
from training_parts.scenes import count_fresh, find_sets

from shared_tmu.errors import InputError, TrainingError
from shared_tmu.programs.identity import file_sha256

CHECKPOINTS = ("*.ckpt", "*/done.*", "*/own.*", "parents")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_toys(tmp_path / "toys", monkeypatch)


def go(state: Path, rounds: int = 1, **changes: object) -> TrainingOn:
    """Train until so many rounds are finished."""

    def until(_: float) -> bool:
        kept = read_state(state)
        return kept is not None and sum(len(model.rounds) for model in kept.models.values()) >= rounds

    options = Options(state, state / "cache", list(BUNDLED), round_s=1e6, until=until)
    training = TrainingOn(replace(options, **changes))  # type: ignore[arg-type]
    training.run()
    return training


def first_checkpoint(state: Path) -> Path:
    return state / "one" / "round-0001" / "again" / "last.ckpt"


def when(path: Path, act: Callable[[], object]) -> None:
    """Do something, in a thread, when a file is there."""

    def watch() -> None:
        while not path.exists():
            time.sleep(0.05)
        act()

    threading.Thread(target=watch, daemon=True).start()


def test_a_round_starts_from_the_shipped_weights_and_leaves_better_ones(state):
    found = go(state).state
    one = found.models["one"]  # it has seen fewer pictures
    assert (one.rounds, one.open, one.seen) == ([1], None, 700)
    assert one.pictures == 10_001 + 700  # the other trunk had seen more
    assert [point.error_mm for point in one.log] == [12.0, 11.5]
    (line,) = started(state, "one")
    assert (line["nice"], line["threads"]) == (max(0, os.nice(0)), "1")
    assert line["start_from"] == file_sha256(BUNDLED["one"].checkpoint)
    assert line["backbone_from"] == file_sha256(BUNDLED["two"].checkpoint)
    assert line["setting.save_every"] == "100"
    assert not [path for name in CHECKPOINTS for path in state.rglob(name)]
    assert (state / "one" / "round-0001" / "export" / "one_thin.safetensors").is_file()


def test_pictures_are_counted_by_the_batches_that_were_asked_for(state):
    found = go(state, more=["stages.again.batch_size=20"]).state
    assert found.models["one"].seen == 700  # in half as many steps


def test_the_hand_models_take_turns_on_one_trunk(state):
    go(state, rounds=4)
    order = {name: [line["backbone_from"] for line in started(state, name)] for name in BUNDLED}
    assert [len(trunks) for trunks in order.values()] == [2, 2]
    last = state / "one" / "round-0002" / "export" / "one_thin.safetensors"
    assert order["two"][1] == file_sha256(last)
    second = started(state, "one")[1]
    before = state / "one" / "round-0001" / "export" / "one_thin.safetensors"
    assert second["start_from"] == file_sha256(before)
    assert second["setting.seed"] != started(state, "one")[0]["setting.seed"]


def test_fresh_scenes_are_drawn_before_they_are_needed_and_belong_to_the_next_round(state):
    found = go(state, rounds=3)
    sets = find_sets(state / "cache", "hand")
    fresh = count_fresh(sets, found.state.drawing["hand"].known)
    seen = sum(model.seen_in_all for model in found.state.models.values())
    assert fresh >= seen / 15
    assert {one.seed for one in sets}.isdisjoint({7, 8})
    lines = started(state, "one")
    counts = [int(line["stages.deep.count"]) for line in lines]
    assert SHARD <= counts[0] < counts[1]
    assert lines[0]["stages.again.difficulty"] == "{variety: 0.5, alike: 0.4, other_hand: 0.15}"
    assert lines[0]["stages.again.keep_patches"] == "null"
    assert lines[0]["stages.again.full_share"] == "0"
    assert "stages.deep.keep_patches" not in lines[0]


def test_scenes_that_lie_in_the_cache_are_used(state):
    (state / "cache" / "synthhand-31-b824cf88").mkdir(parents=True)
    for number in (0, 1, 3):
        (state / "cache" / "synthhand-31-b824cf88" / f"{number:05d}.npz").touch()
    for other in ("synthhand-7-b824cf88", "synthhand-900000-b824cf88", "synthhand-32-00000000"):
        (state / "cache" / other).mkdir()
        (state / "cache" / other / "00000.npz").touch()
    go(state)
    (line,) = started(state, "one")
    assert (line["stages.again.seed"], line["stages.again.count"]) == ("7", str(SHARD))
    assert line["stages.again.also"].startswith(
        f"[{{seed: 31, count: {2 * SHARD}, difficulty: {{variety: 0}}}}"
    )
    assert "900000" not in json.dumps(line)


def test_a_file_stops_it_and_it_goes_on_where_it_stopped(state):
    (state.parent / "sleep").write_text("0.05")
    when(first_checkpoint(state), (state / STOP).touch)
    go(state, rounds=99)
    assert not (state / STOP).exists()
    found = read_state(state)
    assert found is not None
    one = found.models["one"].open
    assert one is not None
    assert 0 < one.seen < 700
    BUNDLED["one"].checkpoint.write_bytes(b"other weights of as many pictures")
    (state.parent / "sleep").write_text("0")
    go(state)
    lines = started(state, "one")
    assert len(lines) == 2
    assert lines[0] == lines[1]


def test_a_slice_ends_in_time_but_not_before_its_first_checkpoint(state):
    (state.parent / "sleep").write_text("0.08")
    go(state, slice_s=0.1)  # drawing is due then
    assert 2 <= len(started(state, "one")) <= 70 / 5


def test_a_program_whose_turn_goes_on_is_counted_but_not_started_again(state, monkeypatch):
    (state.parent / "sleep").write_text("0.02")
    monkeypatch.setattr(planning, "DRAWING", 0.0)
    found: set[int] = set()

    def until(_: float) -> bool:
        model = kept.models["one"] if (kept := read_state(state)) else None
        found.update([model.open.seen] if model and model.open else [])
        return model is not None and bool(model.rounds)

    go(state, slice_s=0.1, until=until)
    assert len(started(state, "one")) == 1
    assert any(0 < seen < 700 for seen in found)


def apart(state: Path) -> None:
    """Train in a process that a test kills."""
    train_on.main(["--state", str(state), "--round", "9999"])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="programs end with their parent on Linux")
def test_killed_it_goes_on_and_no_program_stays(state):
    (state.parent / "sleep").write_text("0.05")
    process = get_context("fork").Process(target=apart, args=(state,))
    process.start()
    deadline = time.monotonic() + 60
    while not first_checkpoint(state).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert is_locked(state)
    busy = pytest.raises(InputError, match=r"another train_on.py trains in .*: stop it with")
    with busy, locked(state, 0.3):
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while is_locked(state):
        assert time.monotonic() < deadline, "the program that it had started stays"
        time.sleep(0.05)
    (state.parent / "sleep").write_text("0")
    found = TrainingOn(Options(state, state / "cache", list(BUNDLED))).state.models["one"].open
    assert found is not None
    assert found.seen >= 50
    go(state)
    assert len(started(state, "one")) == 2


def test_killed_while_a_round_is_finished_it_loses_nothing_and_removes_what_stayed(state, monkeypatch):
    finish = running.finish_round

    def die(place: Place, model: ModelState) -> ModelState:
        finish(place, model)
        raise KeyboardInterrupt

    def die_clearing(place: Place, model: ModelState) -> None:
        if model.rounds:
            raise KeyboardInterrupt

    for name, killed in (("finish_round", die), ("clear_rounds", die_clearing)):
        with monkeypatch.context() as patches:
            patches.setattr(running, name, killed)
            with pytest.raises(KeyboardInterrupt):
                go(state)
    found = TrainingOn(Options(state, state / "cache", list(BUNDLED))).state.models["one"]
    assert (found.rounds, found.open, found.seen) == ([1], None, 700)
    assert not [path for name in CHECKPOINTS for path in state.rglob(name)]
    assert (state / "one" / "round-0001" / "export" / "one_thin.safetensors").is_file()


def test_a_signal_stops_it_with_status_0(state):
    (state.parent / "sleep").write_text("0.05")
    when(first_checkpoint(state), lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert train_on.main(["--state", str(state)]) == 0
    found = read_state(state)
    assert found is not None
    assert found.models["one"].open is not None


def test_without_its_state_it_goes_on_from_the_shipped_weights(state, tmp_path):
    go(state)
    other = tmp_path / "another"
    go(other)
    assert started(other, "one")[0]["start_from"] == started(state, "one")[0]["start_from"]
    seeds = [read_state(one).drawing["hand"].seed for one in (state, other)]  # type: ignore[union-attr]
    assert seeds[0] == seeds[1]


@pytest.mark.parametrize("draws", [False, True])
def test_a_program_that_fails_is_tried_again_but_not_for_ever(state, draws):
    if not draws:
        go(state)
    (state.parent / "fails").touch()
    with pytest.raises(TrainingError, match=r"failed 3 times in a row, .*(asked to fail|no embreex)"):
        go(state, rounds=99)
    (state.parent / "fails").unlink()
    go(state, rounds=2)


def test_a_damaged_state_is_refused_by_name(state):
    go(state)
    (state / STATE).write_text('{"models": 3}')
    with pytest.raises(InputError, match=r"state.json cannot be read .*move it away"):
        go(state)


def test_a_full_disk_is_refused(state, monkeypatch):
    monkeypatch.setattr(running, "_FREE_BYTES", 2**70)
    with pytest.raises(InputError, match="nearly full"):
        go(state)


def test_the_model_of_bodies_gets_a_third_of_the_time(tmp_path, monkeypatch):
    state = make_toys(tmp_path / "toys", monkeypatch, ("one", "two", "body"))
    (state.parent / "sleep").write_text("0.01")
    found = go(state, rounds=4).state
    assert len(found.models["body"].rounds) >= 1
    assert started(state, "body")[0]["backbone_from"] == "null"
    assert not {"stages.again.keep_patches", "stages.again.full_share"} & set(started(state, "body")[0])
    assert "synthbody" in " ".join(path.name for path in (state / "cache").iterdir())


def test_the_status_is_one_line(state, capsys):
    assert train_on.main(["--state", str(state), "--status"]) == 0
    assert capsys.readouterr().out.startswith("nothing yet")
    go(state)
    assert train_on.main(["--state", str(state), "--status"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "stopped; One 12.00 -> 11.50 mm after 11,000 pictures (assumed power 0.27, 1 round)" in out
    assert "fresh scenes of hands" in out


def test_a_state_inside_the_repository_is_refused(state, tmp_path, monkeypatch):
    monkeypatch.setattr(train_on, "REPOSITORY", tmp_path)
    with pytest.raises(InputError, match="inside the repository"):
        train_on.main(["--state", str(state)])


def test_the_variable_names_the_state(state, monkeypatch, capsys):
    go(state)
    monkeypatch.setenv("TMU_TRAIN_ON", str(state))
    assert train_on.main(["--status"]) == 0
    assert "One 12.00" in capsys.readouterr().out
