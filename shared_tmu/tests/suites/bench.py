"""A folder under the benchmark: its task tokens are counted, its head is a part of its own."""

import json
from pathlib import Path
from typing import ClassVar

import torch

from shared_tmu.bench.cli import main
from shared_tmu.bench.measured_model import MeasuredModel
from shared_tmu.bench.profile import MAX_UNACCOUNTED, PARTS
from shared_tmu.programs.model_program import ModelProgram, find_program
from shared_tmu.schedule import Schedule

from .folders import ModelFolder


class BenchSuite:
    """A folder under the benchmark, at its smallest size."""

    folder: ClassVar[ModelFolder]
    parts: ClassVar[tuple[str, ...]] = PARTS
    """What a profile of the model tells apart."""

    @property
    def program(self) -> ModelProgram:
        return self.folder.program

    def test_the_folder_is_found_by_name(self) -> None:
        assert find_program(self.folder.name.lower()) is self.program
        assert self.program.folder == self.folder.root

    def test_results_count_the_task_tokens(self, tmp_path: Path) -> None:
        results, prefix = tmp_path / "speed.jsonl", self.folder.prefix
        options = "--size tiny --r 10x16 --batch 1 --device cpu --rounds 2"
        assert main(self.program, [*options.split(), "--json", str(results)]) == 0
        off, merged = (json.loads(line) for line in results.read_text().splitlines())
        assert off["tokens_kept"] == merged["tokens"] == prefix + 192
        assert merged["tokens_kept"] == prefix + 32
        subject = MeasuredModel(self.program, "tiny", torch.device("cpu"), "vit")
        assert subject.count_tokens(Schedule.parse("8"))[-1] == prefix + 1

    def test_a_profile_has_every_part(self, tmp_path: Path) -> None:
        results = tmp_path / "profile.jsonl"
        options = "--size tiny --profile --r 10x16 --batch 1 --rounds 1 --warmup 0 --device cpu"
        assert main(self.program, [*options.split(), "--json", str(results)]) == 0
        _, merged = (json.loads(line) for line in results.read_text().splitlines())
        assert tuple(merged["shares"]) == self.parts
        assert merged["shares"]["head"] > 0
        assert abs(merged["unaccounted"]) < 2 * MAX_UNACCOUNTED
