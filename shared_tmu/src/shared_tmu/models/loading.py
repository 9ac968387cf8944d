"""Load models: bundled weights, official checkpoints, or those of our own; and tell models apart."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from shared_tmu.body_models.mano import ManoModel, load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.checkpoints import load_weights, read_checkpoint, save_safetensors, tensors_of
from shared_tmu.errors import CheckpointError, ConfigError, MissingAssetError
from shared_tmu.files import write_text
from shared_tmu.models.config import ModelConfig

log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)

_CONTAINERS = ("state_dict", "network")  # what checkpoints call their weights


@dataclass(frozen=True)
class ModelFormat(ABC, Generic[M]):
    """How a model lies in files; a subclass says what its body model is.

    Args:
        build: makes an untrained model from its sizes and a body model.
        config: its configuration's class.
        prefixes: every checkpoint of the model has weights that start with each of these.
        where: how one gets the official weights, for messages.
    """

    build: Callable[[Any, Any], M]
    config: type[ModelConfig]
    prefixes: tuple[str, ...]
    where: str

    BODY: ClassVar[str]
    """How the names of the body model's buffers start."""
    BUNDLED_BODY: ClassVar[str]
    TRAINING_ONLY: ClassVar[tuple[str, ...]] = ()
    """How names start that inference does without."""
    OPTIONAL: ClassVar[tuple[str, ...]] = ()
    """How names start that a checkpoint may lack."""
    IGNORED: ClassVar[tuple[str, ...]] = ()
    """How names start that are never taken from a checkpoint."""

    def load(
        self,
        checkpoint: Path | str | None,
        body_path: Path | str | None,
        config_path: Path | str | None,
        dtype: torch.dtype,
        bundled: Path,
    ) -> M:
        """Load a model for inference, on the CPU.

        Args:
            checkpoint: an official checkpoint, one written by training here, or a `.safetensors`; None takes
                `bundled`. Memory-mapped: what is not needed, such as an optimizer's state, is never read.
            body_path: a body model's file. None takes the one in the checkpoint if that can be, else the
                bundled one.
            config_path: YAML in our layout or, for hands, the published one. None looks for `NAME.yaml`
                beside the checkpoint, then `model_config.yaml` in the folder above or beside it, then inside
                it.
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
        path = bundled if checkpoint is None else Path(checkpoint)
        if checkpoint is None and not path.is_file():
            raise MissingAssetError(
                f"the bundled weights {path.name} are not in {path.parent}: restore the file from the "
                "repository."
            )
        content = read_checkpoint(path, self.where)
        weights = self._weights(content, path)
        config = self._find_config(path, config_path, content)
        ignored = self.IGNORED if body_path is None else (*self.IGNORED, self.BODY)
        weights = {key: value for key, value in weights.items() if not key.startswith(ignored)}
        own_body = any(key.startswith(self.BODY) for key in weights)
        body = self.load_body(body_path)
        with torch.device("meta"):
            model = self.build(config.for_inference(), body)
        self.attach(model, body)
        load_weights(model, weights, str(path), optional=(self.BODY, *self.TRAINING_ONLY, *self.OPTIONAL))
        origin = body_path or (f"the one in {path.name}" if own_body else f"{self.BUNDLED_BODY}, bundled")
        log.info("%s from %s; body model: %s.", self.config.MODEL, path, origin)
        model.to(dtype).eval()
        return model

    def save(self, model: M, path: Path | str, dtype: torch.dtype = torch.float16) -> None:
        """Write weights as safetensors and sizes as YAML of the same name beside them, atomically.

        The body model, and what only training needs, are left out: `load` takes the body model from its own
        file.

        Args:
            model: the model to save.
            path: the `.safetensors` file.
            dtype: of the floating-point weights in the file.
        """
        import yaml

        path = Path(path)
        config: Any = model.config
        tensors = {
            key: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for key, tensor in model.state_dict().items()
            if not key.startswith((self.BODY, *self.TRAINING_ONLY))
        }
        content = config.for_inference().to_dict()
        write_text(path.with_suffix(".yaml"), yaml.safe_dump(content, sort_keys=False))
        save_safetensors(tensors, path, {"model": self.config.key()})

    @abstractmethod
    def load_body(self, path: Path | str | None) -> Any:
        """A body model's file, or the bundled one."""

    @abstractmethod
    def attach(self, model: M, body: Any) -> None:
        """Give a model without values a body layer that has some, in case the checkpoint has none."""

    def our_name(self, key: str) -> str:
        """What a weight is called here; published wrappers for several GPUs put `module.` in front."""
        return key.removeprefix("module.")

    def undescribed(self, path: Path, looked: str) -> Any:
        """The configuration of a checkpoint that comes with none.

        Raises:
            ConfigError: there is no telling.
        """
        raise ConfigError(
            f"no configuration for {path}: looked for {looked}, and inside the checkpoint. "
            "Pass the model_config.yaml that came with it."
        )

    def _weights(self, content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
        inside = next((content[name] for name in _CONTAINERS if name in content), content)
        found = tensors_of(inside) if isinstance(inside, Mapping) else {}
        weights = {self.our_name(key): value for key, value in found.items()}
        if all(any(key.startswith(prefix) for key in weights) for prefix in self.prefixes):
            return weights
        raise CheckpointError(
            f"{path} is not a {self.config.MODEL} checkpoint: {identify(content)}; {self.config.MODEL}'s "
            f"weights start with {' and '.join(self.prefixes)} {self.where}"
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
        return self.undescribed(path, ", ".join(str(place) for place in places))


@dataclass(frozen=True)
class HandFormat(ModelFormat[M]):
    """How a hand model lies in files; its checkpoints bring their own MANO."""

    BODY = "mano."
    BUNDLED_BODY = "SynthHand"
    TRAINING_ONLY = ("discriminator.",)
    OPTIONAL = ("initialized",)

    def load_body(self, path: Path | str | None) -> ManoModel:
        """A right hand; see `load_mano`."""
        return load_mano(path)

    def attach(self, model: M, body: ManoModel) -> None:
        """MANO's layer; weights from a file count as initialized unless it says otherwise."""
        model.mano, model.initialized = ManoLayer(body), torch.tensor(True)


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
