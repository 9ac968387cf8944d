"""Times the GPU kernels against their torch references, each only after its own tests have passed.

    python shared_tmu/benchmarks/run.py                             every kernel, on the GPU
    python shared_tmu/benchmarks/run.py merge --dtype bfloat16,float32 --json assets/bench/gpu_kernels.jsonl

Times are device times, without launches: each call is captured ten times in a CUDA graph. Figures are the
medians and quartiles of the ratios within the rounds. Without a GPU, the tests run in Triton's interpreter,
and no speed is shown.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from registry import KERNELS, Case, Kernel

from shared_tmu.errors import InputError
from shared_tmu.programs.flags import DEVICE_HELP, choose_device
from shared_tmu.programs.results import append_record, describe_environment
from shared_tmu.programs.timing import compare_times, measure_calls

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "shared_tmu" / "tests"
REPEATS = 10
DTYPES = ("bfloat16", "float16", "float32")

Records = Iterator[dict[str, Any] | None]


def verify(kernel: Kernel, device: torch.device) -> tuple[bool, str]:
    """Run the kernel's tests on the device; returns whether they pass, and a report."""
    file, expression = kernel.tests
    environment = dict(os.environ) | ({} if device.type == "cuda" else {"TRITON_INTERPRET": "1"})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(ROOT),
        "-q",
    ]
    marker = "gpu" if device.type == "cuda" else "not gpu"
    selection = [str(TESTS / file), "-m", marker, *(["-k", expression] if expression else [])]
    ran = subprocess.run([*command, *selection], env=environment, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", ran.stdout)
    if ran.returncode == 0 and passed:
        return True, f"{passed[1]} tests passed"
    return False, ran.stdout[-4000:] + ran.stderr[-2000:]


def time_case(case: Case, device: torch.device, rounds: int) -> dict[str, Any]:
    """Device time of the kernel and of its reference, in turn."""
    calls = {"kernel": _repeat(case.kernel), "reference": _repeat(case.reference)}
    times = measure_calls(calls, device, rounds=rounds)
    gain = compare_times(times["reference"], times["kernel"])
    return {
        "speedup": gain.speedup,
        "speedup_quartiles": list(gain.quartiles),
        **{f"{name}_us": 1e6 * timing.median_s / REPEATS for name, timing in times.items()},
    }


def _repeat(call: Callable[[], object]) -> Callable[[], object]:
    """One launch of `REPEATS` calls."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(REPEATS):
            call()
    return graph.replay


def show_speed(
    name: str, kernel: Kernel, device: torch.device, dtypes: Sequence[str], rounds: int
) -> Records:
    """Time all cases of a kernel and print a line for each; their records, None for one that failed."""
    for dtype in dtypes:
        for case in kernel.cases(device, getattr(torch, dtype)):
            try:
                with torch.no_grad():
                    figures = time_case(case, device, rounds)
            # errors of Triton, CUDA and torch have no common base class; other kernels continue
            except Exception as error:
                sys.stdout.write(f"  {dtype}, {case.name}: FAILED, {type(error).__name__}: {error}\n")
                yield None
                continue
            low, high = figures["speedup_quartiles"]
            sys.stdout.write(
                f"  {dtype}, {case.name}: {figures['speedup']:.2f}x ({low:.2f} to {high:.2f}), "
                f"{figures['kernel_us']:.1f} us\n"
            )
            yield {"kind": "kernel", "kernel": name, "dtype": dtype, "case": case.name, **figures}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status tells whether all tests passed and all cases were timed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "kernels", nargs="*", metavar="KERNEL", help=f"some of {', '.join(KERNELS)}; default: all"
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--dtype", default="bfloat16", help=f"comma-separated list of {', '.join(DTYPES)}")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", type=Path, metavar="FILE", help="append one line per case")
    given = parser.parse_args(arguments)
    dtypes = given.dtype.split(",")
    if unknown := [name for name in given.kernels if name not in KERNELS]:
        parser.error(f"there is no kernel {unknown[0]!r}: choose from {', '.join(KERNELS)}")
    if unknown := [name for name in dtypes if name not in DTYPES]:
        parser.error(f"--dtype {unknown[0]!r}: choose from {', '.join(DTYPES)}")
    try:
        device, all_well = choose_device(given.device), True
    except InputError as error:
        parser.error(str(error))
    environment = {"device": str(device), **describe_environment(device, ROOT)}
    for name in given.kernels or KERNELS:
        kernel = KERNELS[name]
        is_green, report = verify(kernel, device)
        all_well &= is_green
        sys.stdout.write(f"{name} ({kernel.about}): {report if is_green else 'TESTS FAILED'}\n")
        if not is_green:
            sys.stdout.write(f"{report}\n")
        elif device.type != "cuda":
            sys.stdout.write("  its speed needs a GPU\n")
        else:
            for record in show_speed(name, kernel, device, dtypes, given.rounds):
                all_well &= record is not None
                if record is not None and given.json is not None:
                    append_record(given.json, {**record, **environment})
        sys.stdout.flush()
    return 0 if all_well else 1


if __name__ == "__main__":
    sys.exit(main())
