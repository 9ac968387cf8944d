"""WiLoR under the benchmark: its task tokens are counted, its refinement is a part of its own."""

import json
from pathlib import Path

import torch

from shared_tmu.bench.cli import main
from shared_tmu.bench.profile import MAX_UNACCOUNTED, PARTS
from shared_tmu.bench.program import find_model_folder
from shared_tmu.bench.subject import Subject
from shared_tmu.schedule import Schedule
from tmu.bench import PROGRAM


def test_the_folder_is_found_by_name() -> None:
    assert find_model_folder("wilor", Path(__file__).parent) == PROGRAM.folder


def test_results_count_the_task_tokens(tmp_path: Path) -> None:
    results = tmp_path / "speed.jsonl"
    options = "--size tiny --r 10x16 --batch 1 --device cpu --rounds 2"
    assert main(PROGRAM, [*options.split(), "--json", str(results)]) == 0
    off, merged = (json.loads(line) for line in results.read_text().splitlines())
    assert (off["tokens_kept"], merged["tokens"], merged["tokens_kept"]) == (210, 210, 50)
    assert Subject(PROGRAM, "tiny", torch.device("cpu"), "vit").count_tokens(Schedule.parse("8"))[-1] == 19


def test_a_profile_has_every_part(tmp_path: Path) -> None:
    results = tmp_path / "profile.jsonl"
    options = "--size tiny --profile --r 10x16 --batch 1 --rounds 1 --warmup 0 --device cpu"
    assert main(PROGRAM, [*options.split(), "--json", str(results)]) == 0
    _, merged = (json.loads(line) for line in results.read_text().splitlines())
    assert tuple(merged["shares"]) == PARTS
    assert merged["shares"]["head"] > 0
    assert abs(merged["unaccounted"]) < 2 * MAX_UNACCOUNTED
