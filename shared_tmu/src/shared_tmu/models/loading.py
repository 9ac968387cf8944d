"""Load hand models: bundled weights, official checkpoints, or those of our own; and tell models apart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from shared_tmu.body_models.mano import ManoModel, load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.checkpoints import load_weights, read_checkpoint, save_safetensors, tensors_of
from shared_tmu.errors import CheckpointError, ConfigError, MissingAssetError
from shared_tmu.files import write_text
from shared_tmu.models.config import HandConfig
from shared_tmu.models.hand import HandModel

log = logging.getLogger(__name__)

M = TypeVar("M", bound=HandModel)


@dataclass(frozen=True)
class HandFormat(Generic[M]):
    """How a hand model lies in files.

    Args:
        build: makes an untrained model from its sizes and a body model.
        config: its configuration's class.
        prefixes: every checkpoint of the model has weights that start with each of these.
        where: how one gets the official weights, for messages.
    """

    build: Callable[[Any, ManoModel], M]
    config: type[HandConfig]
    prefixes: tuple[str, ...]
    where: str

    def load(
        self,
        checkpoint: Path | str | None,
        mano_path: Path | str | None,
        config_path: Path | str | None,
        dtype: torch.dtype,
        bundled: Path,
    ) -> M:
        """Load a model for inference, on the CPU.

        Args:
            checkpoint: an official checkpoint, one written by training here, or a `.safetensors`; None takes
                `bundled`.
            mano_path: a MANO model (see `load_mano`). None takes the one in the checkpoint, else SynthHand.
            config_path: YAML in our layout or the published one. None looks for `NAME.yaml` beside the
                checkpoint, then `model_config.yaml` in the folder above or beside it, then inside the
                checkpoint.
            dtype: of the weights; the body model keeps at least float32.
            bundled: the bundled weights.

        Returns:
            The model in eval mode.

        Raises:
            MissingAssetError: a file is not there.
            CheckpointError: the checkpoint is unsafe, damaged, another model's, or does not fit the
                configuration.
            ConfigError: the configuration cannot be read, or none was found.
        """
        name = self.config.MODEL
        path = bundled if checkpoint is None else Path(checkpoint)
        if checkpoint is None and not path.is_file():
            raise MissingAssetError(
                f"the bundled weights {path.name} are not in {path.parent}: restore the file from the "
                "repository."
            )
        content = read_checkpoint(path, self.where)
        weights = self._weights(content, path)
        config = self._find_config(path, config_path, content)
        own_mano = any(key.startswith("mano.") for key in weights)
        if mano_path is not None:
            weights = {key: value for key, value in weights.items() if not key.startswith("mano.")}
        mano = load_mano(mano_path)
        with torch.device("meta"):
            model = self.build(replace(config, with_discriminator=False), mano)
        model.mano = ManoLayer(mano)  # real tensors, in case the checkpoint has none
        model.initialized = torch.tensor(True)
        load_weights(model, weights, str(path), optional=("discriminator.", "mano.", "initialized"))
        origin = mano_path or (f"the one in {path.name}" if own_mano else "SynthHand, bundled")
        log.info("%s from %s; body model: %s.", name, path, origin)
        model.to(dtype).eval()
        return model

    def save(self, model: M, path: Path | str, dtype: torch.dtype = torch.float16) -> None:
        """Write weights as safetensors and sizes as YAML of the same name beside them, atomically.

        The body model and the discriminator are left out: `load` takes the body model from its own file.

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
        save_safetensors(tensors, path, {"model": self.config.MODEL.lower()})

    def _weights(self, content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
        inside = content.get("state_dict", content)
        weights = tensors_of(inside) if isinstance(inside, Mapping) else {}
        if all(any(key.startswith(prefix) for key in weights) for prefix in self.prefixes):
            return {key: value for key, value in weights.items() if key != "initialized" or value.ndim == 0}
        found = identify(content)
        raise CheckpointError(
            f"{path} is not a {self.config.MODEL} checkpoint: {found}; {self.config.MODEL}'s weights start "
            f"with {' and '.join(self.prefixes)} {self.where}"
        )

    def _find_config(self, path: Path, config_path: Path | str | None, content: Mapping[str, Any]) -> Any:
        if config_path is not None:
            return self.config.from_yaml(config_path)
        folder = path.resolve().parent
        places = (
            path.with_suffix(".yaml"), folder.parent / "model_config.yaml", folder / "model_config.yaml",
        )  # fmt: skip
        for place in places:
            if place.is_file():
                return self.config.from_yaml(place)
        embedded = content.get("hyper_parameters", {})
        if isinstance(embedded, Mapping) and isinstance(embedded.get("cfg"), Mapping):
            return self.config.from_dict(embedded["cfg"], f"the configuration inside {path}")
        looked = ", ".join(str(place) for place in places)
        raise ConfigError(
            f"no configuration for {path}: looked for {looked}, and inside the checkpoint. "
            "Pass the model_config.yaml that came with it."
        )


def identify(content: Mapping[str, Any]) -> str:
    """Say in half a sentence whose a checkpoint seems to be, from the names of its weights."""
    inside = content.get("state_dict", content)
    weights = tensors_of(inside) if isinstance(inside, Mapping) else {}
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
    if has("encoder.") and has("decoder."):
        return "it is SMPLest-X's (its weights are module.encoder.* and module.decoder.*)"
    if has("mano_head."):
        return "it is HaMeR's (it has a mano_head)"
    if has("smpl_head."):
        return "it is HMR2.0's (it has an smpl_head)"
    if has("backbone."):
        return "it has a backbone but no head, like a ViTPose checkpoint"
    if has("blocks.", "patch_embed.", "cls_token"):
        return "it is a plain ViT, such as a classifier or an MAE pretraining"
    if not names:
        keys = ", ".join(map(str, list(content)[:8])) or "nothing"
        return f"it holds no weights, only {keys}"
    return f"it has keys such as {', '.join(names[:4])}"
