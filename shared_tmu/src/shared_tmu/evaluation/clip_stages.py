"""What is done to the predictions of a whole clip: the temporal decoder, then a smoothing filter.

Both change rotations; shape is the head's own with the decoder, and is filtered with the rotations. Errors of
clips are relative to the wrist, so the camera stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.datasets import HandClipSet
from shared_tmu.errors import InputError
from shared_tmu.evaluation.store import Arrays
from shared_tmu.programs.model_program import Run
from shared_tmu.temporal.files import load_decoder
from shared_tmu.temporal.posing import condition_of, decode_motion
from shared_tmu.temporal.smoothing.kinds import NO_SMOOTHING
from shared_tmu.temporal.smoothing.motion import Motion
from shared_tmu.temporal.smoothing.whole import smooth_clip

POSED = ("global_orient", "hand_pose", "betas")
FEATURE = "feature"


def frame_arrays(output: Mapping[str, Any], features: list[Tensor]) -> dict[str, Tensor]:
    """What these stages need of a batch: pose and shape, and the feature, of models that have them."""
    params = output.get("pred_mano_params", {})
    found = {name: params[name] for name in POSED if name in params}
    return found | ({FEATURE: features[-1]} if features else {})


def after_frames(run: Run, outputs: Arrays, data: HandClipSet, model: nn.Module) -> Arrays:
    """Predictions after the stages of a run.

    Raises:
        InputError: the model does not give what they need.
    """
    missing = [name for name in POSED if name not in outputs]
    if run.decoder is not None and FEATURE not in outputs:
        missing.append(FEATURE)
    if missing:
        raise InputError(
            f"{run.label} needs {', '.join(missing)} of every frame, which this model does not give."
        )
    layer: Any = model.mano
    clips = [slice(start, stop) for start, stop in data.clip_bounds]
    rotmat = np.concatenate((outputs["global_orient"], outputs["hand_pose"]), axis=1)  # [N, 16, 3, 3]
    betas = outputs["betas"]
    if run.decoder is not None:
        decoder, _ = load_decoder(run.decoder)
        rotmat = np.concatenate(
            [_decoded(decoder, layer, outputs[FEATURE][c], rotmat[c], betas[c]) for c in clips]
        )
    if run.smooth != NO_SMOOTHING:
        parts = [_smoothed(run.smooth, rotmat[c], betas[c], data.fps) for c in clips]
        rotmat, betas = (np.concatenate(both) for both in zip(*parts, strict=True))
    return {**outputs, **_posed(layer, rotmat, betas), "betas": betas}


def _decoded(decoder: Any, layer: ManoLayer, *arrays: Any) -> Any:
    like = layer.v_template
    feature, rotmat, betas = (torch.as_tensor(array).to(like) for array in arrays)
    condition = condition_of(layer, feature, rotmat, betas)
    found = decode_motion(decoder.to(condition.device), layer, condition, betas)
    return found.float().cpu().numpy()


def _smoothed(kind: str, rotmat: Any, betas: Any, fps: float) -> tuple[Any, Any]:
    still = np.zeros(3)
    motions = [
        Motion(Rotation.from_matrix(pose.astype(np.float64)), shape.astype(np.float64), still, 1.0)
        for pose, shape in zip(rotmat, betas, strict=True)
    ]
    found = smooth_clip(kind, [frame / fps for frame in range(len(motions))], motions)
    rotations = np.stack([one.rotations.as_matrix() for one in found]).astype(np.float32)
    return rotations, np.stack([one.shape for one in found]).astype(np.float32)


@torch.inference_mode()
def _posed(layer: ManoLayer, rotmat: Any, betas: Any) -> Arrays:
    like = layer.v_template
    pose, shape = torch.as_tensor(rotmat).to(like), torch.as_tensor(betas).to(like)
    made = layer(pose[:, :1], pose[:, 1:], shape)
    named = {"pred_vertices": made.vertices, "pred_keypoints_3d": made.keypoints}
    return {name: values.float().cpu().numpy() for name, values in named.items()}
