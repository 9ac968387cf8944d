"""Load HaMeR: the bundled weights, the official checkpoint, or one of our own."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hamer.config import HaMeRConfig
from hamer.model import HaMeR
from shared_tmu.body_models.mano import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.checkpoints import load_weights, read_checkpoint, save_safetensors, tensors_of
from shared_tmu.errors import CheckpointError, ConfigError, MissingAssetError
from shared_tmu.files import write_text

log = logging.getLogger(__name__)

BUNDLED = Path(__file__).parent.parent / "weights" / "hamer_thin.safetensors"
WHERE = (
    "The official weights come with https://github.com/geopavlakos/hamer (its fetch_demo_data.sh puts them "
    "at _DATA/hamer_ckpts/checkpoints/hamer.ckpt; scripts/fetch_assets.py hamer says how to place them "
    "here); without a checkpoint the bundled weights are used."
)


def load_hamer(
    checkpoint: Path | str | None = None,
    mano_path: Path | str | None = None,
    config_path: Path | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> HaMeR:
    """Load HaMeR for inference, on the CPU.

    Args:
        checkpoint: the official `hamer.ckpt`, one written by training here, or a `.safetensors`; None takes
            the bundled weights.
        mano_path: a MANO model (see `load_mano`). None takes the one in the checkpoint, else SynthHand.
        config_path: YAML in our layout or the published one. None looks for `NAME.yaml` beside the
            checkpoint, then `model_config.yaml` in the folder above or beside it, then inside the checkpoint.
        dtype: of the weights; the body model keeps at least float32.

    Returns:
        The model in eval mode.

    Raises:
        MissingAssetError: a file is not there.
        CheckpointError: the checkpoint is unsafe, damaged, not HaMeR's, or does not fit the configuration.
        ConfigError: the configuration cannot be read, or none was found.
    """
    path = BUNDLED if checkpoint is None else Path(checkpoint)
    if checkpoint is None and not path.is_file():
        raise MissingAssetError(
            f"the bundled weights {path.name} are not in {path.parent}: restore the file from the repository."
        )
    content = read_checkpoint(path, WHERE)
    weights = _hamer_weights(content, path)
    config = _find_config(path, config_path, content)
    own_mano = [key for key in weights if key.startswith("mano.")]
    if mano_path is not None:
        weights = {key: value for key, value in weights.items() if not key.startswith("mano.")}
    mano = load_mano(mano_path)
    with torch.device("meta"):
        model = HaMeR(replace(config, with_discriminator=False), mano)
    model.mano = ManoLayer(mano)  # real tensors, in case the checkpoint has none
    model.initialized = torch.tensor(True)
    load_weights(model, weights, str(path), optional=("discriminator.", "mano.", "initialized"))
    origin = mano_path or (f"the one in {path.name}" if own_mano else "SynthHand, bundled")
    log.info("HaMeR from %s; body model: %s.", path, origin)
    return model.to(dtype).eval()


def save_hamer(model: HaMeR, path: Path | str, dtype: torch.dtype = torch.float16) -> None:
    """Write weights as safetensors and the configuration as YAML of the same name beside them, atomically.

    The body model and the discriminator are left out: `load_hamer` takes the body model from its own file.

    Args:
        model: the model to save.
        path: the `.safetensors` file.
        dtype: of the floating-point weights in the file.
    """
    import yaml

    path = Path(path)
    tensors = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in model.state_dict().items()
        if not key.startswith(("mano.", "discriminator."))
    }
    content = replace(model.config, with_discriminator=False).to_dict()
    write_text(path.with_suffix(".yaml"), yaml.safe_dump(content, sort_keys=False))
    save_safetensors(tensors, path, {"model": "hamer"})


def _hamer_weights(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    inside = content.get("state_dict", content)
    weights = tensors_of(inside) if isinstance(inside, Mapping) else {}
    backbone = any(key.startswith("backbone.") for key in weights)
    if backbone and any(key.startswith("mano_head.") for key in weights):
        return {key: value for key, value in weights.items() if key != "initialized" or value.ndim == 0}
    raise CheckpointError(f"{path} is not a HaMeR checkpoint: {_identify(content, weights)}. {WHERE}")


def _identify(content: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """Say what a checkpoint that is not HaMeR's seems to be."""
    nested = {
        key: tensors_of(value)
        for key, value in content.items()
        if isinstance(value, Mapping) and key != "state_dict"
    }
    names = [*weights, *(name for part in nested.values() for name in part)]
    bare = [name.removeprefix("module.").removeprefix("model.") for name in names]

    def has(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in bare)

    if has("refine_net.", "backbone.pose_emb", "backbone.init_hand_pose"):
        return "it is WiLoR's (it has a refinement net and task tokens)"
    if has("encoder.", "decoder.") and "network" in nested:
        return "it is SMPLest-X's (its weights are module.encoder.* and module.decoder.*)"
    if has("smpl_head."):
        return "it is HMR2.0's (it has an smpl_head)"
    if has("backbone."):
        return "it has a backbone but no mano_head, like a ViTPose checkpoint"
    if has("blocks.", "patch_embed.", "cls_token"):
        return "it is a plain ViT, such as a classifier or an MAE pretraining"
    if not names:
        keys = ", ".join(map(str, list(content)[:8])) or "nothing"
        return f"it holds no weights, only {keys}"
    return f"it has keys such as {', '.join(names[:4])}; HaMeR's start with backbone. and mano_head."


def _find_config(path: Path, config_path: Path | str | None, content: Mapping[str, Any]) -> HaMeRConfig:
    if config_path is not None:
        return HaMeRConfig.from_yaml(config_path)
    folder = path.resolve().parent
    places = (path.with_suffix(".yaml"), folder.parent / "model_config.yaml", folder / "model_config.yaml")
    for place in places:
        if place.is_file():
            return HaMeRConfig.from_yaml(place)
    embedded = content.get("hyper_parameters", {})
    if isinstance(embedded, Mapping) and isinstance(embedded.get("cfg"), Mapping):
        return HaMeRConfig.from_dict(embedded["cfg"], f"the configuration inside {path}")
    looked = ", ".join(str(place) for place in places)
    raise ConfigError(
        f"no configuration for {path}: looked for {looked}, and inside the checkpoint. "
        "Pass the model_config.yaml that came with it."
    )
