"""update_tables.py: the figures in the READMEs are those of the committed results files."""

import errno
import json
import os
import resource
import signal
from pathlib import Path

import pytest
import update_tables
from bundled import BUNDLED

from shared_tmu.programs.identity import file_sha256

RUN = {
    "model": "hamer_thin",
    "dataset": "synthhand",
    "schedule": "off",
    "method": "tome",
    "unmerge": True,
    "pa_mpvpe_mm": 10.125,
    "pa_mpjpe_mm": 9.5,
    "images_per_s": 31.26,
    "speedup": 1.0,
    "tokens_kept": 192,
    "device": "cpu",
    "dtype": "float32",
    "versions": {"torch": "2.13.0"},
    "commit": "abc",
}


def write(folder: Path, *changes: dict[str, object]) -> Path:
    lines = [json.dumps(RUN | change) for change in changes]
    (folder / "runs.jsonl").write_text("\n".join(lines) + "\n")
    page = folder / "README.md"
    page.write_text("before\n<!-- results:begin runs.jsonl -->\nold\n<!-- results:end -->\nafter\n")
    return page


def test_rows_differ_in_every_setting_of_a_run(tmp_path: Path) -> None:
    merged = {"schedule": "5x20", "mask": "box"}
    settings = ({"mask_weight": 0.25}, {"mask_weight": 1.0}, {"restore": "trained"})
    layers = {"layers": {"partition": [[0, 1], [2, 2]]}}
    page = write(tmp_path, {}, merged, *(merged | each for each in settings), layers,
                 merged | {"method": "dtem", "learned_sha256": "0123456789"})  # fmt: skip
    assert update_tables.main([str(page)]) == 0
    methods = [row.split(" | ")[1] for row in page.read_text().splitlines() if row.startswith("| 5x20")]
    told = ("", ", background 0.25", ", background 1", ", restore trained")
    assert methods == [*(f"tome, mask box{each}" for each in told), "dtem, mask box, learned 01234567"]
    assert "| off | tome, 2 layers |" in page.read_text()


def test_fills_the_block_and_nothing_else(tmp_path: Path) -> None:
    page = write(
        tmp_path,
        {"schedule": "5x20", "pa_mpvpe_mm": 99.0},
        {},
        {"schedule": "5x20", "tokens_kept": 92, "speedup": 1.4, "pa_mpvpe_mm": 10.3},
        {"schedule": "5x20", "unmerge": False},
        {"device": "cuda", "images_per_s": 900.0, "machine": {"processor": "a GPU"}},
    )
    assert update_tables.main([str(page), "--check"]) == 1
    assert update_tables.main([str(page)]) == 0
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "| off |  | 192 | 10.12 | 9.50 | 1 |" in lines
    assert "| 5x20 | tome | 92 | 10.30 | 9.50 | 1.40x |" in lines
    assert any(line.startswith("| 5x20 | tome, not unmerged |") for line in lines)
    assert not any("99.00" in line for line in lines)
    assert any("versions: torch 2.13.0" in line for line in lines)
    assert any("device: cuda" in line and "processor: a GPU" in line for line in lines)
    assert lines.index("| off |  | 192 | 10.12 | 9.50 | 900.0 | 1 |") > lines.index(
        "| off |  | 192 | 10.12 | 9.50 | 1 |"
    )
    assert update_tables.main([str(page), "--check"]) == 0


def test_lines_of_other_weights_or_samples_stand_in_tables_of_their_own(tmp_path: Path) -> None:
    own = {"weights_sha256": 12 * "a" + "0", "dataset_sha256": 12 * "b", "n": 1000}
    tmu = own | {"schedule": "8x16", "tokens_kept": 64, "speedup": 1.4, "pa_mpvpe_mm": 11.0}
    other = tmu | {"weights_sha256": 12 * "c", "schedule": "5x20", "pa_mpvpe_mm": 5.0}
    trial = tmu | {"dataset_sha256": 12 * "d", "n": 8, "schedule": "10x16", "pa_mpvpe_mm": 6.0}
    page = write(tmp_path, own, other, tmu, trial)
    assert update_tables.main([str(page)]) == 0
    tables = page.read_text().split("| `--r` ")[1:]
    shown = [[name for name in ("10.12", "11.00", "5.00", "6.00") if name in one] for one in tables]
    assert shown == [["10.12", "11.00"], ["5.00"], ["6.00"]]
    told = "weights: aaaaaaaaaaaa; set: dddddddddddd; samples: 8;"
    assert [told in one for one in tables] == [False, False, True]
    page = write(tmp_path, own, tmu)
    assert update_tables.main([str(page)]) == 0
    assert "weights: " not in page.read_text()


def test_a_page_stays_whole_where_the_disk_is_full(tmp_path: Path) -> None:
    page = write(tmp_path, {})
    before = page.read_text() + 100_000 * "."
    page.write_text(before)
    signals = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            update_tables.main([str(page)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, signals)
    assert page.read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {"runs.jsonl", "README.md"}


def test_a_brief_table_shows_the_schedules_that_were_asked_for_in_that_order(tmp_path: Path) -> None:
    merged = {"speedup": 1.4, "pa_mpvpe_mm": 10.3, "minus_off_interval_95": {"pa_mpvpe_mm": [-0.04, 0.1]}}
    page = write(
        tmp_path,
        {"schedule": "8x16"} | merged,
        {"speedup": 1.01},
        {"schedule": "5x20"} | merged,
        {"schedule": "5x20", "method": "random"},
    )
    text = page.read_text()
    page.write_text(text.replace("runs.jsonl", "runs.jsonl brief=off,8x16"))
    assert update_tables.main([str(page)]) == 0
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert rows[1:] == ["| off | 192 | 10.12 |  | 1 |", "| 8x16 | 192 | 10.30 | -0.04 to +0.10 | 1.40x |"]
    page.write_text(text.replace("runs.jsonl", "runs.jsonl brief=off,3"))
    assert update_tables.main([str(page)]) == 1


SPEED = {
    "kind": "speed",
    **{
        "model": "HaMeR",
        "size": "vit-h",
        "scope": "model",
        "device": "cpu",
        "method": "tome",
        "unmerge": True,
    },
    **{"batch_size": 2, "dtype": "bfloat16", "dtype_asked": "auto", "runtime": "eager", "schedule": "10x16"},
    **{"tokens": 192, "tokens_kept": 32, "speedup": 2.4, "speedup_quartiles": [2.35, 2.45]},
    **{
        "floor_speedup": 2.43,
        "flop_ideal": 2.66,
        "realised": 0.902,
        "pays": True,
        "overhead": 0.0123,
        "overhead_quartiles": [0.01, 0.015],
    },
    **{"speedup_over_reference": 9.2, "speedup_over_reference_quartiles": [9.1, 9.3], "rounds": 8},
    **{"vertex_error_mm": {"mean": 0.4, "max": 2.0}, "peak_memory_mib": 25.3, "latency_ms": [5.0, 4.0, 9.0]},
    **{"machine": {"processor": "a CPU", "cpu_threads": 2}, "versions": {"torch": "2"}, "commit": "abc"},
}
MERGED = (
    "| 2 | auto (bfloat16) | eager | 10x16 | 32 | {}2.40x (2.35-2.45) | 2.43x | 2.66x (90 %) | "
    "+1.2 % (+1.0 to +1.5) | "
)


def test_speed_is_shown_as_ratios_and_in_milliseconds_on_a_gpu_only(tmp_path: Path) -> None:
    page = write(tmp_path)
    off = {"schedule": "off", "tokens_kept": 192, "vertex_error_mm": {"mean": 0.0, "max": 0.0}}
    slow = {"schedule": "1x1", "speedup": 0.9, "speedup_quartiles": [0.8, 1.0], "pays": False}
    lines = [SPEED | {"speedup": 1.0}, SPEED | off, SPEED | slow, SPEED, SPEED | {"device": "cuda:0"}]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert update_tables.main([str(page)]) == 0
    on_cpu, on_gpu = page.read_text().split("device: cpu")
    rest = "9.20x (9.10-9.30) | 0.40 (max 2.00) | 25 |"
    assert MERGED.format("") + rest in on_cpu
    assert "| off | 192 | 2.40x (2.35-2.45) |  |  |  | 9.20x (9.10-9.30) |  | 25 |" in on_cpu
    assert on_cpu.count("10x16") == 1
    assert "| 1x1 | 32 | 0.90x (0.80-1.00): no speed-up | 2.43x |" in on_cpu
    assert " ms " not in on_cpu
    assert "processor: a CPU; threads: 2; rounds: 8; versions: torch 2; commit: abc." in on_gpu
    assert MERGED.format("5.00 | ") + rest in on_gpu


def test_profiles_and_growth_are_shown(tmp_path: Path) -> None:
    page = write(tmp_path)
    shared = {"device": "cpu", "dtype": "float32", "machine": {}, "versions": {}, "commit": "abc"}
    profile = {
        **shared,
        **{"kind": "profile", "model": "HaMeR", "size": "thin", "dtype_asked": "float32", "batch_size": 2},
        **{"schedule": "off", "whole_ms": 12.0, "unaccounted": 0.004},
        "shares": {"attention": 0.25, "MLP": 0.746},
    }
    ratios = {f"{name}_ms_growth": 1.5 for name in ("off", "merged", "matching")}
    memory = {f"{name}_mib": 2.25 for name in ("off_peak", "merged_peak", "matching_peak", "score_matrix")}
    speed = {"speedup": 1.2, "speedup_quartiles": [1.1, 1.3], "overhead": 0.05}
    growth = {**shared, "kind": "scale", "axis": "tokens", "value": 384, **ratios, **memory, **speed}
    (tmp_path / "runs.jsonl").write_text(f"{json.dumps(profile)}\n{json.dumps(growth)}\n")
    assert update_tables.main([str(page)]) == 0
    lines = page.read_text().splitlines()
    assert "| 2 | float32 | off | 25.0 % | 74.6 % |  |  |  |  | 0.4 % |" in lines
    sizes = "2.2 | 2.2 | 2.2 | 2.2 |"
    assert f"| tokens | 384 | 1.5x | 1.5x | 1.5x | 1.20x (1.10-1.30) | +5.0 % | {sizes}" in lines


@pytest.mark.parametrize("text", ["", "not json\n", '{"model": 1}\n', "[1, 2]\n"])
def test_says_which_line_cannot_be_shown(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = write(tmp_path, {})
    (tmp_path / "runs.jsonl").write_text(text)
    before = page.read_text()
    assert update_tables.main([str(page)]) == 1
    assert "runs.jsonl" in capsys.readouterr().err
    assert page.read_text() == before


@pytest.mark.parametrize(("mark", "told"), [("0" * 64, True), (None, False), ("bundled", False)])
def test_lines_of_other_weights_than_the_bundled_ones_say_so(
    tmp_path: Path, mark: str | None, told: bool
) -> None:
    mark = file_sha256(BUNDLED["hamer"].checkpoint) if mark == "bundled" else mark
    page = write(tmp_path, {"model": "HaMeR", "checkpoint_sha256": mark})
    assert update_tables.main([str(page)]) == 0
    assert ("Measured with earlier weights (HaMeR's file 000000000000)" in page.read_text()) == told


def test_says_so_where_nothing_was_measured(tmp_path: Path) -> None:
    page = write(tmp_path, {})
    (tmp_path / "runs.jsonl").unlink()
    assert update_tables.main([str(page)]) == 0
    assert "Not measured yet" in page.read_text()


def test_the_published_tables_are_up_to_date() -> None:
    assert update_tables.main(["--check"]) == 0
