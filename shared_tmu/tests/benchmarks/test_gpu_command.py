"""The one command for a GPU: sections that fail or hang take nothing from the others; targets are judged."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

import pytest
import torch

from shared_tmu.bench.suites import GPU, TRIAL

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = ["kernels", *GPU.measurements, "tests"]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("gpu")
    sys.modules.pop("gpu", None)


def python(gpu, name, code, limit_s=60.0):
    return gpu.Section(name, (sys.executable, "-c", code), limit_s)


def test_a_section_that_fails_or_hangs_takes_nothing_from_the_others(gpu, tmp_path):
    later = f"[sys.executable, '-c', {WRITE_LATER!r}, {str(tmp_path)!r}]"
    child = f"import subprocess, sys; subprocess.Popen({later})"
    sections = [
        python(gpu, "breaks", "raise SystemExit(3)"),
        python(gpu, "hangs", f"{child}; import time; time.sleep(60)", limit_s=1.0),
        python(gpu, "works", f"open({str(tmp_path / 'result')!r}, 'w').write('here')"),
    ]
    outcomes = gpu.run_sections(sections, 60.0)
    assert [(o.section, o.status) for o in outcomes] == [
        ("breaks", "failed"),
        ("hangs", "stopped"),
        ("works", "ok"),
    ]
    assert (tmp_path / "result").read_text() == "here"
    time.sleep(2.0)
    assert not (tmp_path / "late").exists()  # what it had started went with it


WRITE_LATER = "import sys, time; time.sleep(2.5); open(sys.argv[1] + '/late', 'w').close()"


def test_the_time_for_all_is_kept(gpu):
    outcomes = gpu.run_sections([python(gpu, "a", "import time; time.sleep(60)")] * 2, 1.0)
    assert [o.status for o in outcomes] == ["stopped", "left out"]


def test_all_sections_fit_into_eight_minutes_and_name_what_exists(gpu):
    for is_dry, suite in ((False, GPU), (True, TRIAL)):
        sections = gpu.make_sections(Path("/results"), is_dry)
        assert [s.name for s in sections] == ["kernels", *suite.measurements, "tests"] == NAMES
        for section in sections:
            for argument in section.command[1:]:
                if argument.startswith("shared_tmu/"):
                    assert (gpu.ROOT / argument).exists()
    assert gpu.LIMIT_S < 480


def record(commit, **changes):
    base = {"schedule": "10x16", "dtype": "bfloat16", "runtime": "graph", "batch_size": 16}
    return {"commit": commit, **base, "overhead": 0.01, "speedup_over_reference": 9.0, **changes}


@pytest.mark.parametrize(
    ("overhead", "status", "expected"), [(0.14, "ok", 0), (0.16, "ok", 1), (0.14, "failed", 1)]
)
def test_targets_are_judged_by_all_results_of_this_commit(
    gpu, overhead, status, expected, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(gpu, "describe_environment", lambda device, folder: {"commit": "abc"})
    rows = [record("abc"), record("abc", batch_size=1, overhead=overhead), record("old", overhead=9.0)]
    (tmp_path / "gpu_vit_h.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcomes = [gpu.Outcome("kernels", status, 12.0)]
    assert gpu.report(outcomes, tmp_path, torch.device("cuda")) == expected
    shown = capsys.readouterr().out
    assert f"{status:9} kernels (12 s)" in shown
    assert ("MISSED" in shown) == (overhead > 0.15)
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert [t["is_reached"] for t in written["targets"]] == [True, overhead < 0.15, True]
    assert written["targets"][1]["found"] == overhead
    assert written["sections"] == [{"section": "kernels", "status": status, "seconds": 12.0}]


def test_nothing_measured_is_not_success(gpu, tmp_path, capsys):
    assert gpu.report([gpu.Outcome("kernels", "ok", 1.0)], tmp_path, torch.device("cpu")) == 1
    assert capsys.readouterr().out.count("not measured") == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "warp"], "there is no section 'warp'"),
        (["--dry"], "choose another --out_folder"),
        (["--dry", "--out_folder", "/proc/none"], "results cannot be written to"),
        pytest.param(
            [],
            "there is no CUDA device here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_cannot_be_run_is_said_at_once(gpu, options, message, capsys):
    with pytest.raises(SystemExit):
        gpu.main(options)
    assert message in capsys.readouterr().err


def test_a_dry_run_measures_and_reports(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    arguments = ["--dry", "--only", "latency-graph", "--out_folder", str(tmp_path)]
    assert gpu.main(arguments) == 1  # nothing that a CPU measures reaches a target of a GPU
    rows = [json.loads(line) for line in (tmp_path / "gpu_vit_h.jsonl").read_text().splitlines()]
    assert [(r["suite"], r["measurement"], r["schedule"]) for r in rows] == [
        ("trial", "latency-graph", "off"),
        ("trial", "latency-graph", "10x16"),
    ]
    summary = json.loads((tmp_path / "gpu.json").read_text())
    assert [(o["section"], o["status"]) for o in summary["sections"]] == [("latency-graph", "ok")]
