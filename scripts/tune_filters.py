"""Try constants of `--smooth` on training clips of SynthHand: those that the temporal decoder learns from.

    python scripts/tune_filters.py --model hamer        # clips are drawn and read if they are not there

Prints MPJPE and the error of acceleration for the head's poses as they are and for every setting. Of those
whose MPJPE is at most 3 % above the lowest of their kind, it chooses for one-euro the least error of
acceleration, for savgol the fewest frames, which are a delay. `temporal/smoothing` has its constants from
here; SynthHand-Clips, on which filters are compared, are other clips. Places in the picture cannot be tried,
since the files of these clips have none.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundled import BUNDLED
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.metrics.clips import score_clips
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import named_path, positive
from shared_tmu.synth.motion import FPS
from shared_tmu.temporal.config import PRESETS
from shared_tmu.temporal.smoothing.motion import Motion
from shared_tmu.temporal.smoothing.one_euro import OneEuro, Pass
from shared_tmu.temporal.smoothing.savgol import fit_clip
from shared_tmu.training.motion.clip_features import ClipFeatures

SEED, SCHEDULES = 51, ("off", "5x20", "8x16", "8x16")
"""Of the decoder's training clips, see `training/configs/motion_parts.yaml`."""

STILL_HZ, PER_SPEED, AROUND = (0.5, 1.0, 1.5, 2.5, 4.0), (0.15, 0.35, 0.7, 1.4, 2.8), (2, 4, 6, 8, 10, 12, 16)

NEARLY_BEST = 1.03
"""Lowest MPJPE times this is as good."""

Motions = list[Motion]
Filter = Callable[[Motions], Motions]
Points = NDArray[np.floating[Any]]


def filters() -> Iterator[tuple[str, Filter]]:
    """The settings, with their names."""
    yield "none", lambda motions: motions
    for still, per_speed in product(STILL_HZ, PER_SPEED):
        yield f"one-euro {still} Hz + {per_speed} per rad/s", _one_euro(Pass(still, per_speed))
    for around in AROUND:
        yield f"savgol {around} frames on each side", _savgol(around)


def _one_euro(rotations: Pass) -> Filter:
    def smoothed(motions: Motions) -> Motions:
        smoother = OneEuro(rotations)
        return [smoother.step(frame / FPS, motion) for frame, motion in enumerate(motions)]

    return smoothed


def _savgol(around: int) -> Filter:
    return lambda motions: fit_clip([frame / FPS for frame in range(len(motions))], motions, around)


def joints_of(layer: Any, motions: Sequence[Motion]) -> Points:
    """Joints of hands, `[T, 21, 3]` metres."""
    pose = torch.tensor(np.stack([one.rotations.as_matrix() for one in motions])).to(layer.v_template)
    shape = torch.tensor(np.stack([one.shape for one in motions])).to(layer.v_template)
    with torch.inference_mode():
        found: Points = layer(pose[:, :1], pose[:, 1:], shape).keypoints.numpy()
    return found


def motions_of(pose: Points, shape: Points) -> Motions:
    """Axis angles `[T, 16, 3]` and shapes `[T, 10]` as motions that stay in one place."""
    still = np.zeros(3)
    return [
        Motion(Rotation.from_rotvec(turns.astype(np.float64)), betas.astype(np.float64), still, 1.0)
        for turns, betas in zip(pose, shape, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all settings; returns the exit status."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    hands = [name for name, model in BUNDLED.items() if model.subject == "hand"]
    parser.add_argument("--model", choices=hands, required=True, help="which of the bundled models")
    parser.add_argument("--cache", type=named_path, default=Path("data/cache"), help="folder of read clips")
    parser.add_argument("--clips", type=positive, default=15, help="number of clips")
    given = parser.parse_args(arguments)
    program = import_module(f"{BUNDLED[given.model].package}.tmu.program").PROGRAM
    model = program.load_model(None, None, None).eval()
    frames = PRESETS["thin"].frames
    clips = [
        np.load(path)
        for path in ClipFeatures(program, model, given.cache, SEED, frames, SCHEDULES).make(given.clips)
    ]
    true, seen = [], []
    for clip in clips:
        joints = joints_of(model.mano, motions_of(clip["pose"], np.tile(clip["betas"], (frames, 1))))
        for predicted, shape in zip(clip["pred_pose"], clip["pred_betas"], strict=True):
            true.append(joints)
            seen.append(motions_of(predicted, shape))
    number = np.repeat(np.arange(len(true)), frames)
    scores = {}
    for name, smoothed in filters():
        found = [joints_of(model.mano, smoothed(motions)) for motions in seen]
        rows = score_clips(np.concatenate(found), np.concatenate(true), number, FPS).per_sample
        scores[name] = [float(np.nanmean(rows[error])) for error in ("mpjpe_mm", "accel_error_mm")]
        sys.stdout.write(f"{name:40s} {scores[name][0]:8.2f} mm {scores[name][1]:8.2f} mm/frame2\n")
        sys.stdout.flush()
    for kind, order in (("one-euro", lambda name: scores[name][1]), ("savgol", list(scores).index)):
        tried = [name for name in scores if name.startswith(kind)]
        most = NEARLY_BEST * min(scores[name][0] for name in tried)
        best = min((name for name in tried if scores[name][0] <= most), key=order)
        sys.stdout.write(f"chosen: {best}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(), "Interrupted."))
