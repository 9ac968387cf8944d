"""How results were made: facts for the `.json`, and the digest with which `--resume` decides whether existing
results are still valid.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared_tmu.demo.options import DemoOptions
from shared_tmu.detect import Detector
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.detect.segmenter import finder
from shared_tmu.programs.identity import digest_of, file_sha256, sizes_of, weights_sha256
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.schedule import Schedule

PLACES = ("img_folder", "video", "camera", "out_folder", "file_type")
"""Options that name inputs and the output folder: each image has its own digest instead."""

PACE = (
    *("batch_size", "draw_processes", "report", "resume", "dtype_reason", "budget", "calibration"),
    *("engine", "ray_address"),
)
"""Options for speed and reports, which change results at most by rounding, and for finding `run`."""

BY_CONTENT = ("checkpoint", "boxes", "detector", "detector_dir")
"""Options whose files are included by content: weights, boxes, the detector with its files."""


def facts_of(options: DemoOptions, detector: str) -> dict[str, Any]:
    """What the `.json` says about how the results were made."""
    run = options.run
    return {
        "checkpoint": options.checkpoint.name if options.checkpoint else "bundled",
        "schedule": str(run.schedule),
        "method": run.method,
        "unmerge": run.unmerge,
        "restore": run.restore,
        "protect": run.protect,
        "mask_asked": run.mask,
        "mask_weight": run.weight if run.masks else None,
        **({} if not options.is_clip else options.clip.facts()),
        **({} if run.layers is None else {"layers": run.layers.to_dict()}),
        **({} if run.learned is None else {"learned_sha256": file_sha256(run.learned)}),
        "dtype": options.dtype_name,
        "packed": options.packed and options.device.type == "cpu",
        "detector": detector,
        "rescale_factor": options.rescale_factor,
    }


def facts_of_run(program: ModelProgram, options: DemoOptions, detector: str) -> dict[str, Any]:
    """What the `.json` of every image of a run begins with, after the image's name."""
    return {"format": "tmu-demo-1", "model": program.name, **facts_of(options, detector)}


def options_digest(options: DemoOptions, detector: Detector, model: nn.Module) -> str:
    """A digest of everything except the image that decides the contents of the result files. Every option is
    included, also a new one, unless it is listed above.
    """
    finds = finder(detector)
    left_out = {*PLACES, *PACE, *BY_CONTENT}
    counted = [field.name for field in fields(options) if field.name not in left_out]
    return digest_of(
        {
            "facts": facts_of(options, detector.name),
            "options": {name: _plain(getattr(options, name)) for name in counted},
            "boxes": finds.entries if isinstance(finds, BoxesDetector) else None,
            "detector_files": _detector_files(
                detector.name, options.detector_dir, "segmentation" in options.run.masks.names
            ),
            "weights": weights_sha256(model),
            "config": sizes_of(model),
        }
    )


def _plain(value: Any) -> Any:
    """A value in JSON's types; files are represented by their content."""
    if isinstance(value, Path):
        return file_sha256(value) if value.is_file() else str(value)
    if isinstance(value, Schedule | torch.dtype):
        return str(value)
    if isinstance(value, torch.device):
        return value.type  # every GPU gives the same results
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _detector_files(name: str, folder: Path, segments: bool) -> list[list[Any]]:
    """Name, size and modification time of all files that such a detector may read."""
    if (name not in ("yolo", "vitdet") and not segments) or not folder.is_dir():
        return []
    found = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [[path.relative_to(folder).as_posix(), at.st_size, at.st_mtime_ns] for path, at in found]
