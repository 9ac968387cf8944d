"""Train a linear probe on the tokens of a ViT that stays as it is: minutes on a CPU, a few kilobytes.

    python scripts/train_probe.py --data fashion-mnist --limit 5000
    python scripts/train_probe.py --data FOLDER --img_size 112 --out probe.safetensors

FOLDER has `train` and `val`, each with one subfolder of pictures per class. Features are computed once and
kept under --results. One fifth of the training pictures chooses the weight decay; test pictures are only used
by scripts/eval_classification.py, which finds the probe by its place in shared_tmu/assets/probes, or takes
--probe.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from shared_tmu.classification.choosing import add_model_flags, read_choice
from shared_tmu.classification.probe_file import FOLDER, probe_name
from shared_tmu.classification.probe_training import compute_features, fit_probe, make_probe
from shared_tmu.classification.sources import DATA_HELP, FASHION, find_source
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.evaluation.store import require_folder
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import (
    DEVICE_HELP,
    choose_device,
    images_per_call,
    named_path,
    natural,
    positive,
)
from shared_tmu.programs.model_program import BASELINE
from shared_tmu.runtime.precision import DTYPES, choose_dtype


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit status."""
    given = make_parser().parse_args(arguments)
    choice, source = read_choice(given), find_source(given.data, "train")
    device = choose_device(given.device)
    require_folder(given.results)
    vit, crop = choice.load_vit()
    settings = EvalSettings(
        datasets=(),
        runs=(BASELINE,),
        data_dir=Path(),
        results=given.results,
        device=device,
        dtype=choose_dtype(given.dtype, device).dtype,
        batch_size=given.batch_size,
        num_workers=given.num_workers,
        limit=given.limit,
    )
    features, labels = compute_features(vit, crop, source, settings)
    fitted = fit_probe(features, labels, len(source.classes))
    about = {
        "data": source.name,
        "pictures": len(labels),
        "model": choice.model,
        "dtype": settings.dtype_name,
    }
    target = given.out or FOLDER / probe_name(source.name, crop.size)
    make_probe(fitted, source.classes, vit, crop, about).save(target)
    sys.stdout.write(
        f"{len(labels)} pictures of {source.name}, weight decay {fitted.decay:g}: "
        f"{fitted.validation_pct:.2f} % of the validation part are right\n"
        f"wrote {target} ({target.stat().st_size} bytes)\n"
    )
    for problem in source.problems:
        sys.stderr.write(f"Not used: {problem}.\n")
    return 1 if source.problems else 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_model_flags(parser)
    add("--data", default=FASHION, help=f"{DATA_HELP}; default: {FASHION}")
    add("--limit", type=positive, help="train on the first N pictures only")
    add("--out", type=named_path, help="the probe's file; default: its place in shared_tmu/assets/probes")
    add("--batch_size", type=images_per_call, default=32, help="pictures per call; default: 32")
    add("--dtype", choices=("auto", *DTYPES), default="float32", help="of the features; default: float32")
    add("--device", default="auto", help=DEVICE_HELP)
    add("--num_workers", type=natural, default=0, help="processes that read pictures ahead; default: 0")
    add(
        "--results",
        type=named_path,
        default=Path("results"),
        help="where features are kept; default: results",
    )
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main))
