"""HaMeR under the benchmark, and the command from both places."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import Ended, run_command

from hamer_tmu.tmu.program import PROGRAM
from shared_tmu.bench.cli import main
from shared_tmu.bench.costs import vertex_error_mm
from shared_tmu.bench.measured_model import MeasuredModel, Variant
from shared_tmu.bench.profile import MAX_UNACCOUNTED, PARTS
from shared_tmu.schedule import Schedule

FOLDER = Path(__file__).resolve().parents[1]


def run(folder: Path, options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shared_tmu.bench", *options.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_command_writes_and_prints_its_results(tmp_path: Path) -> None:
    results = os.path.relpath(tmp_path / "new" / "speed.jsonl", FOLDER.parent)
    options = "--model hamer --size tiny --r 10x16 --batch 1 --dtype float32,auto --device cpu --rounds 2"
    done = run(FOLDER.parent, f"{options} --json {results}")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "new" / "speed.jsonl").read_text().splitlines()]
    assert [r["schedule"] for r in records[:2]] == ["off", "10x16"]
    assert (records[1]["model"], records[1]["tokens"], records[1]["tokens_kept"]) == ("HaMeR", 192, 32)
    assert records[1]["vertex_error_mm"] == {"mean": 0, "max": 0}
    assert "10x16" in done.stdout
    assert done.stderr == ""


def test_the_command_knows_its_models_and_runs_inside_the_folder_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: str) -> Ended:
        return run_command("shared_tmu.bench", options.split(), monkeypatch, capsys)

    monkeypatch.chdir(FOLDER)
    unknown = run("--model nobody")
    assert unknown.code == 1
    assert re.fullmatch(r"InputError: there is no model 'nobody': use one of .*hamer.*\n", unknown.stderr)
    assert "vit-h, thin, tiny" in run("--model hamer --help").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--size xl", "no size 'xl': use one of vit-h, thin, tiny"),
        ("--size tiny --r 5y2", "cannot read '5y2'"),
        ("--size tiny --dtype int8", "no dtype 'int8'"),
        ("--size tiny --batch 0", "whole numbers from 1 to 4096"),
        ("--size tiny --batch 2,1000000000", "whole numbers from 1 to 4096"),
        (f"--size tiny --batch {'9' * 5000}", "whole numbers from 1 to 4096"),
        ("--size tiny --batch ,", "--batch is empty"),
        ("--size tiny --runtime warp", "no runtime 'warp'"),
        ("--size tiny --method magic", "no method 'magic'"),
        ("--size tiny --r 1x40", "names 40 layers, this trunk has 32"),
        ("--size tiny --json .", ". is a folder, which is not replaced: name a file to write."),
        ("--size tiny --json /proc/none/speed.jsonl", "results cannot be written to /proc/none"),
        ("--size tiny --profile --pictures nowhere", "--pictures nowhere does not exist"),
        ("--size tiny --resume", "--resume continues a results file, but none was named"),
        pytest.param(
            "--size tiny --device cuda",
            "--device cuda cannot be used here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    options: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(PROGRAM, options.split()) == 1
    (record,) = caplog.records
    assert message in record.getMessage()


@pytest.mark.parametrize(
    "options", ["--only latency-graph", "--profile --suite gpu", "--profile --resume --json x.jsonl"]
)
def test_options_that_do_not_go_together(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(PROGRAM, ["--size", "tiny", *options.split()])
    assert options.split()[0] in capsys.readouterr().err


def test_the_ideal_of_vit_h_is_that_of_its_arithmetic() -> None:
    subject = MeasuredModel(PROGRAM, "tiny", torch.device("cpu"), "vit")
    assert subject.count_tokens(Schedule.parse("12x8+6x8"))[-1] == 48
    whole, merged = (subject.count_flops(Schedule.parse(text)) for text in ("off", "10x16"))
    assert 2 < whole / merged < 3


def test_vertices_of_the_bundled_model_move_little_in_bfloat16() -> None:
    subject = MeasuredModel(PROGRAM, "thin", torch.device("cpu"))
    off = Schedule.parse("off")
    found, reference = (
        subject.run_first(Variant(dtype, "eager", off), 2).output["pred_vertices"]
        for dtype in (torch.bfloat16, torch.float32)
    )
    assert 0 < vertex_error_mm(found, reference)["mean"] < 5


def test_a_profile_of_the_bundled_model_has_every_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "profile.jsonl"
    options = "--size thin --profile --r 10x16 --batch 1 --rounds 1 --warmup 0 --device cpu"
    assert main(PROGRAM, [*options.split(), "--json", str(results)]) == 0
    off, merged = (json.loads(line) for line in results.read_text().splitlines())
    assert tuple(merged["shares"]) == PARTS
    assert set(PARTS) - set(off["shares"]) == {"matching", "merging", "unmerging"}
    assert abs(merged["unaccounted"]) < MAX_UNACCOUNTED
    assert "add up to the whole" in capsys.readouterr().out


def test_a_suite_for_gpus_says_so_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    assert main(PROGRAM, ["--size", "tiny", "--device", "cpu", "--suite", "gpu"]) == 1
    assert "is for cuda, but the device is cpu" in caplog.text
