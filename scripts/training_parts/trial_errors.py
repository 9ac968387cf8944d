"""The errors of a trial's weights on every held-out render, and on renders that it has learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from shared_tmu.evaluation.per_sample import PER_SAMPLE, PerSample, read_per_sample, write_per_sample
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.training.data import SynthHandSet
from shared_tmu.training.drawing import Scenes
from shared_tmu.training.losses import aligned_error_mm

ERROR = "pa_mpvpe_mm"
SEEN = "seen"
"""The set of renders that a trial has learned from."""
_BATCH = 50
_PREFIX = "model."


def measure(
    program: ModelProgram,
    exported: Path,
    weights: Mapping[str, Path],
    cache: Path,
    sets: Mapping[str, Scenes],
) -> dict[tuple[str, str], PerSample]:
    """The errors of several weights of one model on several sets, with all patches; kept beside the weights.

    Args:
        program: description of the model.
        exported: a file of a model of the same sizes.
        weights: what a stage has left, by name.
        cache: folder of the scenes.
        sets: renders, by name; none of them is changed by chance.

    Returns:
        By the names of weights and set.
    """
    found = {}
    model = program.load_model(exported).eval()
    for name, path in weights.items():
        content = load_file(path)
        state = {k.removeprefix(_PREFIX): v for k, v in content.items() if k.startswith(_PREFIX)}
        model.load_state_dict(state)
        for which, scenes in sets.items():
            folder = errors_folder(path.parent.parent, name, which)
            folder.mkdir(parents=True, exist_ok=True)
            about = {"dataset": f"{scenes.seed}-{scenes.count}", "label": f"{name} {which}"}
            errors = errors_on(model, cache, scenes)
            samples = tuple(f"{scenes.seed}-{i}" for i in range(scenes.count))
            write_per_sample(folder, PerSample(samples, samples, errors, about))
            found[name, which] = read_per_sample(folder)
    return found


def errors_folder(trial: Path, weights: str, which: str) -> Path:
    """Where the errors of a trial's weights on a set lie."""
    return trial / "errors" / f"{weights}-{which}"


def is_measured(trial: Path, weights: Sequence[str], sets: Sequence[str]) -> bool:
    """Whether all errors of a trial are there."""
    return all((errors_folder(trial, one, which) / PER_SAMPLE).exists() for one in weights for which in sets)


@torch.inference_mode()
def errors_on(model: nn.Module, cache: Path, scenes: Scenes) -> dict[str, NDArray[np.float64]]:
    """Errors by name, `[N]` each: of aligned vertices and joints, of vertices with the wrists together, and
    in the picture (pixels of a crop of 256).
    """
    pictures = SynthHandSet(cache, scenes.seed, scenes.count, scenes.difficulty, augment=False)
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(pictures), _BATCH):
        packed = [pictures.packed(i, None) for i in range(start, min(start + _BATCH, len(pictures)))]
        batch = pictures.unpack({key: torch.stack([one[key] for one in packed]) for key in packed[0]})
        parts.append(_errors(model, batch))
    return {key: torch.cat([part[key] for part in parts]).double().numpy() for key in parts[0]}


def _errors(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out = model({"img": batch["img"]})
    mano: nn.Module = model.mano  # type: ignore[assignment]
    truth = mano(global_orient=batch["global_orient"], hand_pose=batch["hand_pose"], betas=batch["betas"])
    vertices = out["pred_vertices"] - out["pred_keypoints_3d"][:, :1]
    apart = vertices - (truth.vertices - truth.keypoints[:, :1])
    flat = out["pred_keypoints_2d"] - batch["keypoints_2d"]
    return {
        ERROR: aligned_error_mm(out["pred_vertices"], truth.vertices),
        "pa_mpjpe_mm": aligned_error_mm(out["pred_keypoints_3d"], truth.keypoints),
        "wrist_mpvpe_mm": 1000.0 * apart.norm(dim=-1).mean(1),
        "error_2d_px": 256.0 * flat.norm(dim=-1).mean(1),
    }
