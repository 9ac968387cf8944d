"""The scale study and the suites, at sizes that take no time."""

import json

import pytest
import torch

from shared_tmu.bench.__main__ import main
from shared_tmu.bench.scale import AXES, ScalePoint, ScaleSettings, measure_point
from shared_tmu.bench.speed import SpeedSettings
from shared_tmu.bench.speed_figures import OFF
from shared_tmu.bench.suites import GPU, SUITES, Suite, Target, run_suite
from shared_tmu.errors import TMUError
from shared_tmu.schedule import Schedule


def test_half_of_the_tokens_merge_at_every_point():
    for axis, values in AXES.items():
        for value in values:
            point = ScalePoint(**{axis: value})
            kept = point.schedule.token_counts(point.depth, point.tokens)[-1]
            assert point.tokens / 2 <= kept < 0.6 * point.tokens
    assert AXES["tokens"][0] == 192
    assert AXES["tokens"][-1] == 4096


def test_matching_many_tokens_holds_one_matrix_of_scores_at_most():
    settings = ScaleSettings(torch.device("cpu"), rounds=1, budget_s=0)
    record = measure_point(ScalePoint(tokens=1024, batch=1, depth=1, width=16, num_heads=1), settings)
    assert record["score_matrix_mib"] == 1
    metric_mib = 1024 * 16 * 4 / 2**20
    assert record["matching_peak_mib"] < record["score_matrix_mib"] + 4 * metric_mib


def test_the_command_writes(tmp_path, capsys):
    results = tmp_path / "scale.jsonl"
    options = "--scale --tokens 16,32 --batch 1,2 --depth 1,2 --device cpu --rounds 1 --budget 0"
    assert main([*options.split(), "--json", str(results)]) == 0
    records = [json.loads(line) for line in results.read_text().splitlines()]
    points = [("tokens", 16), ("tokens", 32), ("batch", 1), ("batch", 2), ("depth", 1), ("depth", 2)]
    assert [(r["axis"], r["value"]) for r in records] == points
    assert all(r[f"{name}_ms_growth"] == 1 for r in records[::2] for name in ("off", "merged", "matching"))
    assert records[1]["merged_ms_growth"] == records[1]["merged_ms"][0] / records[0]["merged_ms"][0]
    assert "tokens" in capsys.readouterr().out


@pytest.mark.parametrize("options", ["--tokens 0", "--depth ,", "--dtype int8"])
def test_what_cannot_be_scaled_is_said(options, caplog):
    assert main(["--scale", *options.split()]) == 1
    assert len(caplog.records) == 1


def test_a_model_and_scale_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        main(["--scale", "--model", "hamer"])
    assert "not allowed with" in capsys.readouterr().err


# suites


def row(**changes):
    base = {"schedule": "10x16", "dtype": "bfloat16", "runtime": "graph", "batch_size": 16}
    return base | {"overhead": 0.01, "speedup_over_reference": 9.0} | changes


def verdicts(*records):
    return [str(target.judge(records)).split(maxsplit=1)[0] for target in GPU.targets]


def test_targets_are_judged_by_their_worst_figure():
    assert verdicts(row(), row(batch_size=1, overhead=0.14)) == ["reached"] * 3
    assert verdicts(row(), row(overhead=0.06, batch_size=64))[0] == "MISSED"
    assert verdicts(row(batch_size=1, overhead=0.16))[1] == "MISSED"
    assert verdicts(row(batch_size=1, overhead=0.16, runtime="eager"))[1] == "not"
    assert verdicts(row(), row(speedup_over_reference=7.9, batch_size=32))[2] == "MISSED"
    assert verdicts(row(speedup_over_reference=2.0, schedule="5x20"))[2] == "not"
    assert verdicts(row(schedule="off", overhead=1.0), row())[0] == "reached"


def test_the_gpu_suite_measures_what_its_targets_are_about():
    assert SUITES["gpu"] is GPU
    for runtime in ("graph", "eager"):
        assert GPU.measurements[f"throughput-{runtime}"].batch_sizes == (16, 32, 64)
        assert GPU.measurements[f"latency-{runtime}"].batch_sizes == (1,)
    for name, settings in GPU.measurements.items():
        assert {str(s) for s in settings.schedules} == {"5x20", "8x16", "10x16", "12x8+6x8"}
        assert settings.runtimes == (name.partition("-")[2],)
        assert list(settings.dtypes) == ["bfloat16"]
    rows = sum(len(m.batch_sizes) * len(m.schedules) for m in GPU.measurements.values())
    assert rows * 4.0 < 300  # of 8 minutes
    assert {m.budget_s for m in GPU.measurements.values()} == {4.0}


class Stub:
    """A subject on a device that is not here."""

    device = torch.device("cpu")


def test_a_suite_refuses_another_device():
    with pytest.raises(TMUError, match="suite 'gpu' is for cuda, but the device is cpu"):
        list(run_suite(GPU, None, Stub()))


def test_a_suite_runs_its_measurements_and_names_them(monkeypatch):
    settings = SpeedSettings((Schedule.parse("5x2"),), (1,), {"float32": torch.float32})
    suite = Suite("mini", "cpu", {"one": settings, "two": settings}, [])
    monkeypatch.setattr(
        "shared_tmu.bench.suites.measure_speed", lambda *given: iter([{"schedule": str(OFF), "given": given}])
    )
    records = list(run_suite(suite, "program", subject := Stub()))
    assert [(r["suite"], r["measurement"]) for r in records] == [("mini", "one"), ("mini", "two")]
    assert records[0]["given"] == ("program", subject, settings, ())
    (two,) = run_suite(suite, "program", subject, [{}], ["two"])
    assert two["measurement"] == "two"
    with pytest.raises(TMUError, match="no measurement 'three': choose from one, two"):
        list(run_suite(suite, "program", subject, (), ["three"]))


def test_a_target_names_where_it_was_missed():
    target = Target("slow", lambda r: True, "overhead", 0.05, is_most=True)
    assert (
        str(target.judge([row(overhead=0.2)])) == "MISSED  slow: 0.200, limit 0.05 (batch 16, 10x16, graph)"
    )
