"""How similar the layers of a model are (linear CKA over tokens), which tells how many could be merged.

`scripts/measure_cka.py` runs it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from shared_tmu.datasets import DATASETS, SetOptions, dataset_names, set_sha256
from shared_tmu.errors import InputError
from shared_tmu.evaluation.budget.samples import Batch, SampleChoice, Samples
from shared_tmu.evaluation.settings import add_model_flags
from shared_tmu.files import write_text
from shared_tmu.layers import collect_features, linear_cka
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import FlagParser, choose_device, named_path, positive
from shared_tmu.programs.identity import file_sha256, weights_sha256
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.results import describe_environment, require_writable
from shared_tmu.runtime.precision import choose_dtype

DIGITS = 5


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Measure and write the JSON; the exit status."""
    return run_program(lambda: _measure(program, arguments))


def _measure(program: ModelProgram, arguments: Sequence[str] | None) -> None:
    given = build_similarity_parser(program).parse_args(arguments)
    device = choose_device(given.device)
    require_writable(given.out)
    names = dataset_names(given.dataset, program.estimates.name)
    if len(names) != 1:
        raise InputError(f"--dataset {given.dataset}: layers are compared on one set: name exactly one.")
    options = SetOptions(body_path=given.body_path)
    asked = SampleChoice(names[0], given.data_dir, given.limit, given.batch_size, device, options)
    asked.check()
    model = program.load_model(given.checkpoint, given.body_path, given.config_path).eval()
    samples = Samples.of_set(asked, model)
    facts = {
        **{"kind": "cka", "model": program.name, "dataset": samples.data.name, "n": len(samples)},
        "weights_sha256": weights_sha256(model),
        "checkpoint_sha256": file_sha256(given.checkpoint or program.default_checkpoint),
        "dataset_sha256": set_sha256(samples.data),
        **describe_environment(device, program.folder),
    }
    model.to(device=device, dtype=choose_dtype(given.dtype, device).dtype)
    place = program.blocks_of(model)

    def call(_: int, batch: Batch) -> Any:
        return place.model(batch)

    features = collect_features(place.blocks, lambda: samples.predict(call), len(samples), given.tokens)
    matrix = linear_cka(features)
    record: dict[str, Any] = {
        **facts,
        "tokens": features[0].shape[0],
        "layers": len(features),
        "cka": [[round(float(value), DIGITS) for value in row] for row in matrix],
    }
    write_text(given.out, json.dumps(record) + "\n")
    sys.stdout.write("\n".join([say_similarity(matrix), str(given.out)]) + "\n")


def say_similarity(matrix: Tensor) -> str:
    """The least and the mean similarity of neighbours, and how many layers are alike at three levels."""
    neighbours = matrix.diagonal(1)
    parts = [f"{len(matrix)} layers; neighbours: mean {neighbours.mean():.4f}, least {neighbours.min():.4f}"]
    for level in (0.999, 0.99, 0.95):
        parts.append(f"{int((neighbours > level).sum())} pairs of neighbours above {level}")
    return "; ".join(parts) + "."


def build_similarity_parser(program: ModelProgram) -> argparse.ArgumentParser:
    """The command line; defaults are in its help."""
    parser = FlagParser(
        prog=f"measure_cka.py --model {program.name.lower()}",
        description="How similar the tokens after each block are to those after each other one: linear CKA, "
        "1 for equal up to turning and scaling.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add, subject = parser.add_argument, program.estimates
    sets = ", ".join(spec.name for spec in DATASETS.values() if spec.subject == subject.name)
    add("--dataset", default=subject.calibration, help=f"set of pictures, one of {sets}")
    add("--data_dir", type=named_path, default=program.data_dir, help="folder of datasets")
    add("--limit", type=positive, default=200, help="number of pictures, from the first")
    add(
        "--tokens",
        type=positive,
        default=8192,
        help="number of their tokens that are compared, chosen at random",
    )
    add("--out", type=named_path, required=True, help="JSON file, replaced")
    add_model_flags(parser, program)
    return parser
