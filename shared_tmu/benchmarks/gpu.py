"""Runs everything that is measured on a GPU, in one command that ends within 8 minutes.

    python shared_tmu/benchmarks/gpu.py                                   kernels, speed, tests, targets
    python shared_tmu/benchmarks/gpu.py --dry --out_folder data/gpu        the same at tiny sizes on a CPU

Every section is a separate process with its own time limit, and writes each result as soon as it is measured:
a section that fails, or does not end, does not affect the others. Sections:

    kernels             each Triton kernel against its torch reference, after its tests: gpu_kernels.jsonl
    throughput, latency ViT-H at batch 16 to 64 and 1, eager and in CUDA graphs: gpu_vit_h.jsonl
    tests               all tests that need a GPU

The last lines compare the results with the targets; gpu.json also has this comparison, and how the sections
ended. The exit status is 0 if all sections succeeded and all targets are reached. `--only` repeats some
sections; other results of the same commit are kept and used too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from shared_tmu.bench.suites import GPU, TRIAL
from shared_tmu.errors import TMUError
from shared_tmu.files import write_text
from shared_tmu.programs.results import describe_environment, read_records, require_writable

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 460.0  # of 8 minutes


@dataclass(frozen=True)
class Section:
    """One command of the whole run.

    Attributes:
        name: name that users type.
        command: program and arguments, run in the repository.
        limit_s: time limit in seconds.
        environment: environment variables in addition to this process's.
    """

    name: str
    command: tuple[str, ...]
    limit_s: float
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a section ended.

    Attributes:
        section: its name.
        status: `ok`, `failed`, `stopped` at its limit, or `left out` because the total time was over.
        seconds: time that it took.
    """

    section: str
    status: str
    seconds: float


def make_sections(folder: Path, is_dry: bool) -> list[Section]:
    """The sections to run, the most important first; `is_dry` is for trying them on a CPU."""
    python, device = sys.executable, "cpu" if is_dry else "cuda"
    suite, size = (TRIAL, "tiny") if is_dry else (GPU, "vit-h")
    kernels = (python, "shared_tmu/benchmarks/run.py", *(["widen"] if is_dry else []), "--device", device)
    speed = (python, "-m", "shared_tmu.bench", "--model", "hamer", "--size", size, "--suite", suite.name)
    results = ("--json", str(folder / "gpu_vit_h.jsonl"), "--resume")
    tests = (python, "-m", "pytest", "-q", "-m", "gpu", "shared_tmu/tests")
    if is_dry:
        tests = (
            python,
            "-m",
            "pytest",
            "-q",
            "--collect-only",
            "-m",
            "gpu",
            "shared_tmu/tests/kernels/test_kernels.py",
        )
    return [
        Section("kernels", (*kernels, "--json", str(folder / "gpu_kernels.jsonl")), 130.0),
        *(
            Section(name, (*speed, "--device", device, *results, "--only", name), 100.0)
            for name in suite.measurements
        ),
        Section("tests", tests, 150.0),
    ]


def run_section(section: Section, limit_s: float) -> Outcome:
    """Run a section in its own process group, which always ends with it."""
    sys.stdout.write(f"== {section.name}\n")
    sys.stdout.flush()
    start = time.monotonic()
    process = subprocess.Popen(
        section.command, cwd=ROOT, env={**os.environ, **section.environment}, start_new_session=True
    )
    try:
        status = "ok" if process.wait(limit_s) == 0 else "failed"
    except subprocess.TimeoutExpired:
        status = "stopped"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Outcome(section.name, status, time.monotonic() - start)


def run_sections(sections: Sequence[Section], limit_s: float) -> list[Outcome]:
    """Run all sections, one after the other, within a total time."""
    end, outcomes = time.monotonic() + limit_s, []
    for section in sections:
        left = end - time.monotonic()
        if left <= 0:
            outcomes.append(Outcome(section.name, "left out", 0.0))
        else:
            outcomes.append(run_section(section, min(section.limit_s, left)))
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status tells whether all sections succeeded and all targets are
    reached.
    """
    names = [section.name for section in make_sections(Path(), is_dry=False)]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--only",
        default=",".join(names),
        metavar="SECTIONS",
        help=f"comma-separated list of {', '.join(names)}",
    )
    add("--out_folder", type=Path, default=ROOT / "assets" / "bench", help="default: assets/bench")
    add(
        "--limit",
        type=float,
        default=LIMIT_S,
        metavar="SECONDS",
        help="time for all sections, in seconds; default %(default)s",
    )
    add("--dry", action="store_true", help="tiny sizes on a CPU, to check that everything runs")
    given = parser.parse_args(arguments)
    wanted, folder = given.only.split(","), given.out_folder.absolute()
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"there is no section {unknown[0]!r}: choose from {', '.join(names)}")
    if not (given.dry or torch.cuda.is_available()):
        parser.error("there is no CUDA device here: use a machine with one, or --dry to try the command")
    if given.dry and folder == ROOT / "assets" / "bench":
        parser.error("results of --dry must not replace real ones: choose another --out_folder")
    try:
        require_writable(folder / "gpu.json")
    except TMUError as error:
        parser.error(str(error))
    sections = [section for section in make_sections(folder, given.dry) if section.name in wanted]
    outcomes = run_sections(sections, given.limit)
    return report(outcomes, folder, torch.device("cpu" if given.dry else "cuda"))


def report(outcomes: Sequence[Outcome], folder: Path, device: torch.device) -> int:
    """Print how sections ended and which targets are reached, write gpu.json, and give the exit status."""
    environment = describe_environment(device, ROOT)
    records = [r for r in read_records(folder / "gpu_vit_h.jsonl") if r["commit"] == environment["commit"]]
    verdicts = [target.judge(records) for target in GPU.targets]
    lines = [f"{o.status:9} {o.section} ({o.seconds:.0f} s)" for o in outcomes]
    sys.stdout.write("\n".join(["", *lines, "", *map(str, verdicts)]) + "\n")
    summary: dict[str, Any] = {
        "command": "python shared_tmu/benchmarks/gpu.py",
        "device": str(device),
        **environment,
        "sections": [asdict(outcome) for outcome in outcomes],
        "targets": [asdict(verdict) for verdict in verdicts],
    }
    write_text(folder / "gpu.json", json.dumps(summary, indent=1) + "\n")
    all_well = all(outcome.status == "ok" for outcome in outcomes)
    return 0 if all_well and all(verdict.is_reached for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
