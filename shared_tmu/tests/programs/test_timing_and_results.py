"""Timing in turn, and JSON lines that survive a crash."""

import gc
import json
import multiprocessing
import subprocess
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from shared_tmu.programs.results import append_record, describe_environment, read_records, require_writable
from shared_tmu.programs.timing import Timing, compare_times, measure_in_turn

CPU = torch.device("cpu")


def test_contenders_take_turns_after_a_warm_up_that_does_not_count():
    log = []

    @contextmanager
    def inside(name):
        log.append(name)
        yield

    times = measure_in_turn(
        lambda: log.append("call"),
        {"a": lambda: inside("a"), "b": lambda: inside("b")},
        CPU,
        rounds=3,
        warmup=2,
    )
    there, back = ["a", "call", "b", "call"], ["b", "call", "a", "call"]
    assert log == there + back + there + back + there
    assert [len(t.seconds) for t in times.values()] == [3, 3]


def test_only_the_call_is_timed(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))

    @contextmanager
    def slow_to_enter():
        for _ in range(100):
            next(clock)
        yield
        for _ in range(50):
            next(clock)

    times = measure_in_turn(lambda: next(clock), {"a": slow_to_enter}, CPU, rounds=2, warmup=1, budget_s=1e9)
    assert times["a"].seconds == (2, 2)


def test_the_budget_stops_early_but_not_before_five_rounds():
    calls = []
    times = measure_in_turn(lambda: calls.append(1), {"a": nullcontext}, CPU, rounds=50, warmup=1, budget_s=0)
    assert len(times["a"].seconds) == 5
    assert len(calls) == 6
    times = measure_in_turn(int, {"a": nullcontext}, CPU, rounds=50, warmup=1, budget_s=0, fewest=3)
    assert len(times["a"].seconds) == 3


def test_garbage_collection_is_given_back_also_after_an_error():
    def fail():
        assert not gc.isenabled()
        raise RuntimeError("in the call")

    with pytest.raises(RuntimeError, match="in the call"):
        measure_in_turn(fail, {"a": nullcontext}, CPU)
    assert gc.isenabled()


@pytest.mark.parametrize("arguments", [{"rounds": 0}, {"warmup": -1}])
def test_nothing_to_time(arguments):
    with pytest.raises(ValueError, match="nothing to time"):
        measure_in_turn(int, {"a": nullcontext}, CPU, **arguments)
    with pytest.raises(ValueError, match="nothing to time"):
        measure_in_turn(int, {}, CPU)


def test_medians_quartiles_and_speedup():
    slow, fast = Timing((4.0, 5.0, 6.0, 100.0, 5.0)), Timing((2.0, 2.5, 3.0, 2.5, 2.5))
    assert slow.median_s == 5.0
    assert slow.quartiles_s == (5.0, 6.0)
    assert fast.per_second(10) == 4.0
    comparison = compare_times(slow, fast)
    assert comparison.speedup == 2.0
    assert comparison.quartiles == (2.0, 2.0)
    assert Timing((1.0,)).quartiles_s == (1.0, 1.0)


def test_a_slow_spell_does_not_change_the_speedup():
    """It hits most rounds of one and, by chance of the order, fewer of the other."""
    slow, fast = Timing((2.0, 2.0, 4.0, 4.0, 4.2)), Timing((1.0, 1.0, 1.0, 2.0, 2.1))
    assert slow.median_s / fast.median_s == 4.0
    assert compare_times(slow, fast).speedup == 2.0


def test_records_round_trip_and_append(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    assert read_records(path) == []
    append_record(path, {"schedule": "5x20", "pa_mpvpe_mm": 5.7})
    append_record(path, {"schedule": "off", "name": "Übung"})
    assert read_records(path) == [
        {"schedule": "5x20", "pa_mpvpe_mm": 5.7},
        {"schedule": "off", "name": "Übung"},
    ]
    assert len(path.read_text().splitlines()) == 2


def test_a_torn_line_is_closed_skipped_and_reported(tmp_path, caplog):
    path = tmp_path / "results.jsonl"
    append_record(path, {"n": 1})
    whole = json.dumps({"n": 2})
    with path.open("a") as file:
        file.write(whole[:4])
    append_record(path, {"n": 3})
    assert read_records(path) == [{"n": 1}, {"n": 3}]
    assert "line 2 is not a complete record" in caplog.text


def test_what_json_cannot_say_is_refused_and_the_file_left_alone(tmp_path):
    path = tmp_path / "results.jsonl"
    append_record(path, {"n": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_record(path, {"n": float("nan")})
    assert read_records(path) == [{"n": 1}]


def test_the_environment_names_versions_machine_and_commit(tmp_path):
    here = describe_environment(CPU, Path(__file__).parents[1])
    assert here["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert here["machine"]["processor"]
    assert describe_environment(CPU, tmp_path)["commit"] is None


def test_a_dirty_checkout_is_called_dirty(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    files = [
        tmp_path / name for name in ("file", "model/README.md", "assets/bench/a.jsonl", "model/assets/a")
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("one")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = describe_environment(CPU, tmp_path)["commit"]
    assert len(clean) == 40
    for results in files[1:3]:
        results.write_text("two")
    for folder in (tmp_path, tmp_path / "model"):
        assert describe_environment(CPU, folder)["commit"] == clean  # results change nothing
    for code in (files[0], files[3]):
        code.write_text("two")
        assert describe_environment(CPU, tmp_path / "model")["commit"] == f"{clean}-dirty"
        code.write_text("one")


def append_many(path: Path, who: int) -> None:
    for number in range(40):
        append_record(path, {"who": who, "number": number, "filler": "x" * 20_000})


def test_several_writers_lose_and_tear_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"torn": ')
    writers = [
        multiprocessing.get_context("fork").Process(target=append_many, args=(path, i)) for i in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = [(record["who"], record["number"]) for record in read_records(path)]
    assert sorted(found) == [(who, number) for who in range(4) for number in range(40)]
    assert [pair for pair in found if pair[0] == 2] == [(2, number) for number in range(40)]


def test_asking_whether_results_can_be_written_leaves_nothing_and_takes_nothing_away(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    require_writable(path)
    assert not list(path.parent.iterdir())
    append_record(path, {"a": 1})
    require_writable(path)
    assert read_records(path) == [{"a": 1}]
