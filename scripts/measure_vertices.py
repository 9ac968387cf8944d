"""Measures the mean error at every vertex of a bundled model, for the unpatched model, merge-only and TMU.

    python scripts/measure_vertices.py --model hamer       # about a minute on two cores; people take five

Errors are after Procrustes alignment of each sample's mesh, on the first samples of the model's own set.
Writes `assets/<model>_vertices.npz`, which `python scripts/figures.py vertices` draws.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from bundled import BUNDLED
from numpy.typing import NDArray

from shared_tmu.datasets import set_sha256
from shared_tmu.evaluation.budget.samples import SampleChoice, Samples
from shared_tmu.files import replacing
from shared_tmu.metrics import align_similarity
from shared_tmu.programs.console import run_program
from shared_tmu.programs.identity import file_sha256, weights_sha256
from shared_tmu.programs.model_program import BASELINE, Run, find_program
from shared_tmu.programs.results import describe_environment
from shared_tmu.programs.tables import to_npz
from shared_tmu.schedule import Schedule

SCHEDULES = "8x16,10x16"
AT_ONCE = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add(
        "--r",
        default=SCHEDULES,
        help=f"comma-separated list of schedules in addition to off; default: {SCHEDULES}",
    )
    add("--limit", type=int, default=200, help="number of samples; default: 200")
    add("--out", type=Path, help="file, replaced; default: in assets")
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    program, cpu = find_program(model.stem), torch.device("cpu")
    net = program.load_model(None).eval()
    samples = Samples.of_set(SampleChoice(model.dataset, program.data_dir, given.limit, AT_ONCE, cpu), net)
    runs = {"off": BASELINE}
    for schedule in map(Schedule.parse, given.r.split(",")):
        runs |= {f"merge-only {schedule}": Run(schedule, "tome", unmerge=False)}
        runs |= {f"TMU {schedule}": Run(schedule, "tome", unmerge=True)}
    errors = []
    for label, run in runs.items():
        with run.applied(program, net):
            placed = samples.data.place(samples.predict(lambda _, batch: net({"img": batch["img"]})))
        predicted = placed["verts_m" if model.subject == "hand" else "vertices_m"]
        errors.append(mean_errors_mm(samples, predicted))
        sys.stdout.write(f"{label}: {errors[-1].mean():.2f} mm\n")
    facts = {
        **{"kind": "vertices", "model": program.name, "dataset": samples.data.name, "n": len(samples)},
        "weights_sha256": weights_sha256(net),
        "checkpoint_sha256": file_sha256(program.default_checkpoint),
        "dataset_sha256": set_sha256(samples.data),
        **describe_environment(cpu, program.folder),
    }
    out = given.out or model.picture("vertices").with_suffix(".npz")
    arrays = {
        "labels": np.array(list(runs)),
        "error_mm": np.stack(errors),
        "facts": np.array(json.dumps(facts)),
    }
    with replacing(out) as beside:
        beside.write_bytes(to_npz(arrays))
    sys.stdout.write(f"{out}\n")
    return 0


def mean_errors_mm(samples: Samples, predicted: NDArray[np.floating]) -> NDArray[np.float16]:
    """Mean distance of every vertex from the truth after alignment, `[V]`.

    Args:
        samples: with true meshes.
        predicted: `[N, V, 3]` metres.
    """
    total = np.zeros(predicted.shape[1])
    is_hand = hasattr(samples.data, "verts_m")
    for start in range(0, len(predicted), AT_ONCE):
        rows = slice(start, min(start + AT_ONCE, len(predicted)))
        true = samples.data.verts_m[rows] if is_hand else samples.data.true_vertices(rows)
        moved = align_similarity(predicted[rows], true, reflection=is_hand)
        total += np.linalg.norm(moved - true, axis=-1).sum(axis=0)
    return (1000 * total / len(predicted)).astype(np.float16)


if __name__ == "__main__":
    sys.exit(run_program(main))
