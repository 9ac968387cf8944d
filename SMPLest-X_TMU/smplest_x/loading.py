"""Load SMPLest-X: the bundled weights, the official checkpoint, or one of our own."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.body_models.smplx_model import load_smplx
from shared_tmu.checkpoints import load_weights, read_checkpoint, save_safetensors, tensors_of
from shared_tmu.errors import CheckpointError, MissingAssetError
from shared_tmu.files import write_text
from shared_tmu.models.loading import identify
from smplest_x.config import MODEL, MODEL_KEY, SMPLestXConfig
from smplest_x.model import SMPLestX

log = logging.getLogger(__name__)

BUNDLED = Path(__file__).parent.parent / "weights" / "smplest_x_thin.safetensors"
PREFIXES = ("encoder.", "decoder.")
BODY_PREFIX = "smplx_layer."
WHERE = (
    "The official weights, smplest_x_h.pth.tar, are named in https://github.com/SMPLCap/SMPLest-X "
    "(scripts/fetch_assets.py smplest_x says how to place them here); without a checkpoint the bundled "
    "weights are used."
)


def load_smplest_x(
    checkpoint: Path | str | None = None,
    smplx_path: Path | str | None = None,
    config_path: Path | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> SMPLestX:
    """Load SMPLest-X for inference, on the CPU.

    Args:
        checkpoint: the official `smplest_x_h.pth.tar` (memory-mapped: its optimizer is never read), one
            written by training here, or a `.safetensors`; None takes the bundled weights.
        smplx_path: an SMPL-X model (see `load_smplx`). None takes the bundled SynthBody.
        config_path: YAML in our layout. None looks for `NAME.yaml` beside the checkpoint; without one the
            checkpoint is taken to be of the published size.
        dtype: of the weights; the body model keeps at least float32.

    Returns:
        The model in eval mode.

    Raises:
        MissingAssetError: a file is not there.
        CheckpointError: the checkpoint is unsafe, damaged, of another model, or of other sizes than said.
        ConfigError: the configuration cannot be read.
    """
    path = BUNDLED if checkpoint is None else Path(checkpoint)
    if checkpoint is None and not path.is_file():
        raise MissingAssetError(
            f"the bundled weights {path.name} are not in {path.parent}: restore the file from the repository."
        )
    weights = _weights(read_checkpoint(path, WHERE), path)
    config = _find_config(path, config_path)
    body = load_smplx(smplx_path)
    with torch.device("meta"):
        model = SMPLestX(config, body)
    model.smplx_layer = SmplxLayer(body)  # real tensors; checkpoints have none
    load_weights(model, weights, str(path), optional=(BODY_PREFIX,))
    log.info("%s from %s; body model: %s.", MODEL, path, smplx_path or "SynthBody, bundled")
    return model.to(dtype).eval()


def save_smplest_x(model: SMPLestX, path: Path | str, dtype: torch.dtype = torch.float16) -> None:
    """Write weights as safetensors and sizes as YAML of the same name beside them, atomically.

    The body model is left out: `load_smplest_x` takes it from its own file.

    Args:
        model: the model to save.
        path: the `.safetensors` file.
        dtype: of the weights in the file.
    """
    path = Path(path)
    state = model.state_dict()
    tensors = {key: tensor.to(dtype) for key, tensor in state.items() if not key.startswith(BODY_PREFIX)}
    write_text(path.with_suffix(".yaml"), yaml.safe_dump(model.config.to_dict(), sort_keys=False))
    save_safetensors(tensors, path, {"model": MODEL_KEY})


def _weights(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The network's weights without the wrapper's prefix; those of a body model inside are left out."""
    inside = content.get("network", content)
    found = tensors_of(inside) if isinstance(inside, Mapping) else {}
    weights = {_our_name(key): value for key, value in found.items()}
    if not all(any(key.startswith(prefix) for key in weights) for prefix in PREFIXES):
        raise CheckpointError(
            f"{path} is not a {MODEL} checkpoint: {identify(content)}; {MODEL}'s weights start with "
            f"{' and '.join(PREFIXES)}, inside 'network'. {WHERE}"
        )
    return {key: value for key, value in weights.items() if not key.startswith(BODY_PREFIX)}


def _our_name(key: str) -> str:
    """Without the data-parallel wrapper's prefix, and with today's name of what was once called backbone."""
    bare = key.removeprefix("module.")
    return "encoder." + bare.removeprefix("backbone.") if bare.startswith("backbone.") else bare


def _find_config(path: Path, config_path: Path | str | None) -> SMPLestXConfig:
    if config_path is not None:
        return SMPLestXConfig.from_yaml(config_path)
    beside = path.with_suffix(".yaml")
    return SMPLestXConfig.from_yaml(beside) if beside.is_file() else SMPLestXConfig.official()
