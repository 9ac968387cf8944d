"""Loads models from bundled weights, official checkpoints or our own checkpoints; recognises checkpoints of
other models.
"""

from __future__ import annotations

import json
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
from shared_tmu.errors import CheckpointError, ConfigError, MissingAssetError
from shared_tmu.files import is_file, shortened, write_text
from shared_tmu.files.checkpoints import (
    load_weights,
    places_of_config,
    read_checkpoint,
    read_metadata,
    save_safetensors,
)
from shared_tmu.models.config import ModelConfig
from shared_tmu.models.contents import groups_of, identify
from shared_tmu.models.weight_values import fingerprint, narrowed, require_finite, weight_dtype

log = logging.getLogger(__name__)
_CONFIG = "config"
"""The entry of a safetensors file's metadata that holds the model's sizes as JSON."""
_BODY_MODEL = "body_model"
"""The entry that holds the fingerprint of the body model with which the model was saved."""

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class ModelFormat(ABC, Generic[M]):
    """The file format of a model; a subclass defines its body model.

    Args:
        build: makes an untrained model from its configuration and a body model.
        config: class of its configuration.
        prefixes: every checkpoint of the model has weights whose names start with each of these.
        where: how to get the official weights, for messages.
    """

    build: Callable[[Any, Any], M]
    config: type[ModelConfig]
    prefixes: tuple[str, ...]
    where: str

    BODY: ClassVar[str]
    """Prefix of the names of the body model's buffers."""
    SURFACE: ClassVar[tuple[str, ...]]
    """Buffers that determine the surface, without the prefix. A checkpoint with a body model must hold all of
    them, so that two bodies are not mixed; a saved model records their fingerprint."""
    BUNDLED_BODY: ClassVar[str]
    TRAINING_ONLY: ClassVar[tuple[str, ...]] = ()
    """Prefixes of names that inference does not need."""
    OPTIONAL: ClassVar[tuple[str, ...]] = ()
    """Prefixes of names that may be missing in a checkpoint."""
    IGNORED: ClassVar[tuple[str, ...]] = ()
    """Prefixes of names that are never read from a checkpoint."""

    def load(
        self,
        checkpoint: Path | str | None,
        body_path: Path | str | None,
        config_path: Path | str | None,
        dtype: torch.dtype | str,
        bundled: Path,
    ) -> M:
        """Load a model for inference, on the CPU.

        Args:
            checkpoint: an official checkpoint, one written by training here, or a `.safetensors` file; None
                takes `bundled`. It is memory-mapped: parts that are not needed, such as an optimizer's state,
                take no memory. While the model is in use, replace the file only as a whole, by a rename: data
                written into it, as by `cp`, would change the model. Its weights may lie in dictionaries and
                wrappers, see `contents.groups_of`.
            body_path: a body model's file. None takes the one in the checkpoint if possible, else the bundled
                one.
            config_path: YAML in our layout or, for hand models, the published one. None looks for `NAME.yaml`
                beside the checkpoint, then for `model_config.yaml` in the folder above or beside it; if the
                checkpoint is a link, also beside its target; then inside the checkpoint.
            dtype: dtype of the weights, or its name; the body model keeps at least float32.
            bundled: the bundled weights.

        Returns:
            The model in eval mode.

        Raises:
            MissingAssetError: a file does not exist.
            CheckpointError: the checkpoint is unsafe, damaged, another model's, or does not fit the
                configuration.
            ConfigError: the configuration cannot be read, or none was found.
            InputError: weights cannot be of this dtype.
        """
        dtype = weight_dtype(dtype)
        path = bundled if checkpoint is None else Path(checkpoint)
        if checkpoint is None and not is_file(path):
            raise MissingAssetError(
                f"the bundled weights {path.name} are not in {path.parent}: restore the file from the "
                "repository."
            )
        content = read_checkpoint(path, self.where)
        weights = self._weights(content, path)
        config = self._find_config(path, config_path, content)
        ignored = self.IGNORED if body_path is None else (*self.IGNORED, self.BODY)
        weights = {key: value for key, value in weights.items() if not key.startswith(ignored)}
        own_body = self._has_body(weights, path)
        body = self.load_body(body_path)
        with torch.device("meta"):
            model = self.build(config.for_inference(), body)
        self.attach(model, body)
        load_weights(model, weights, str(path), optional=(self.BODY, *self.TRAINING_ONLY, *self.OPTIONAL))
        self._report_body(model, path, body_path, own_body)
        return narrowed(model, dtype, str(path)).eval()

    def save(
        self,
        model: M,
        path: Path | str,
        dtype: torch.dtype | str = torch.float16,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Write the weights as safetensors, and the configuration as YAML with the same name beside them,
        atomically.

        The body model and weights that only training needs are left out: `load` takes the body model from its
        own file, and warns if it is another than `model` has. The sizes are in the safetensors, too, in case
        the YAML is lost.

        Args:
            model: the model to save.
            path: the `.safetensors` file.
            dtype: dtype of the floating-point weights in the file, or its name.
            facts: further texts for the file's metadata, such as how the model was made.

        Raises:
            CheckpointError: a weight is not finite in this dtype.
            InputError: weights cannot be of this dtype.
        """
        import yaml

        path, dtype = Path(path), weight_dtype(dtype)
        config: Any = model.config
        state = {key.replace("_orig_mod.", ""): tensor for key, tensor in model.state_dict().items()}
        tensors = {
            key: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for key, tensor in state.items()
            if not key.startswith((self.BODY, *self.TRAINING_ONLY))
        }
        require_finite(tensors, f"{path} in {dtype}")
        content = config.for_inference().to_dict()
        write_text(path.with_suffix(".yaml"), yaml.safe_dump(content, sort_keys=False))
        own = {"model": self.config.key(), _CONFIG: json.dumps(content), _BODY_MODEL: self._body_of(state)}
        save_safetensors(tensors, path, {**own, **(facts or {})})

    @abstractmethod
    def load_body(self, path: Path | str | None) -> Any:
        """A body model's file, or the bundled one."""

    @abstractmethod
    def attach(self, model: M, body: Any) -> None:
        """Give a model on the meta device a body layer with values, if the checkpoint has none."""

    def our_name(self, key: str) -> str:
        """Our name for a weight, after removing wrappers."""
        return key

    def undescribed(self, path: Path, looked: str) -> Any:
        """The configuration of a checkpoint that does not contain one.

        Raises:
            ConfigError: it cannot be determined.
        """
        raise ConfigError(
            f"no configuration was found for {path}: looked for {looked}, and inside the checkpoint. "
            "Pass the model_config.yaml that came with it: --config FILE, or config_path."
        )

    def _report_body(self, model: M, path: Path, body_path: Path | str | None, is_inside: bool) -> None:
        """Say which body model is used, and warn if the weights are, or may be, made for another one."""
        origin = body_path or (f"the one in {path.name}" if is_inside else f"{self.BUNDLED_BODY}, bundled")
        log.info("%s from %s; body model: %s.", self.config.MODEL, path, origin)
        if is_inside:
            return
        saved = read_metadata(path)
        if _BODY_MODEL in saved:
            if saved[_BODY_MODEL] != self._body_of(model.state_dict()):
                log.warning(
                    "%s was saved from a model with another body model than %s, so its results differ: name "
                    "the file of the right one.", path, origin,
                )  # fmt: skip
        elif body_path is None and not saved.get("model"):
            log.warning(
                "%s holds no body model, so the bundled %s is used, which its weights may not be made for: "
                "name the file of the right one.", path, self.BUNDLED_BODY,
            )  # fmt: skip

    def _body_of(self, state: Mapping[str, Tensor]) -> str:
        return fingerprint(state, [self.BODY + name for name in self.SURFACE])

    def _has_body(self, weights: Mapping[str, Tensor], path: Path) -> bool:
        own = {key.removeprefix(self.BODY) for key in weights if key.startswith(self.BODY)}
        if own and (lacking := [name for name in self.SURFACE if name not in own]):
            raise CheckpointError(
                f"{path} holds only a part of a body model: {self.BODY}* without {', '.join(lacking)}. "
                "Name the body model's file, which is then used instead."
            )
        return bool(own)

    def _weights(self, content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
        groups = groups_of(content, self.our_name)
        complete = [group for group in groups if group.has(self.prefixes)]
        chosen = [group for group in complete if not group.is_average] or complete
        if len(chosen) == 1:
            if chosen[0].is_average:
                log.info("%s holds only a running average of the weights, which is used.", path)
            return chosen[0].weights
        name = self.config.MODEL
        if chosen:
            places = ", ".join(shortened(group.place or "the top", 60) for group in chosen)
            raise CheckpointError(
                f"{path} holds several {name} models, at {places}: save the one that you want in its own "
                "file."
            )
        whose = identify(content)
        parts = [prefix for prefix in self.prefixes if any(group.has((prefix,)) for group in groups)]
        if parts and (whose.startswith(f"it is {name}'s") or "keys such as" in whose):
            lacking = [prefix for prefix in self.prefixes if prefix not in parts]
            raise CheckpointError(
                f"{path} is only a part of a {name} checkpoint: it has {' and '.join(parts)}*, but no "
                f"weights that start with {' or '.join(lacking or self.prefixes)} beside them. {self.where}"
            )
        raise CheckpointError(
            f"{path} is not a {name} checkpoint: {whose}; {name}'s weights start with "
            f"{' and '.join(self.prefixes)} {self.where}"
        )

    def _find_config(self, path: Path, config_path: Path | str | None, content: Mapping[str, Any]) -> Any:
        if config_path is not None:
            return self.config.from_yaml(config_path)
        places = places_of_config(path)
        for place in places:
            if is_file(place):
                return self.config.from_yaml(place)
        embedded = content.get("hyper_parameters", {})
        if isinstance(embedded, Mapping) and isinstance(embedded.get("cfg"), Mapping):
            return self.config.from_dict(embedded["cfg"], f"the configuration inside {path}")
        if sizes := read_metadata(path).get(_CONFIG):
            return self.config.from_dict(_parsed(sizes, path), f"the configuration inside {path}")
        return self.undescribed(path, ", ".join(str(place) for place in places))


def _parsed(sizes: str, path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(sizes)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ConfigError(f"the configuration inside {path} is no JSON object: name another with --config.")
    return content


@dataclass(frozen=True)
class HandFormat(ModelFormat[M]):
    """The file format of a hand model; its checkpoints contain their own MANO."""

    BODY = "mano."
    SURFACE = ("v_template", "shapedirs", "posedirs", "J_regressor", "lbs_weights", "faces_tensor")
    BUNDLED_BODY = "SynthHand"
    TRAINING_ONLY = ("discriminator.",)
    OPTIONAL = ("initialized",)

    def load_body(self, path: Path | str | None) -> ManoModel:
        """A right hand; see `load_mano`."""
        return load_mano(path)

    def attach(self, model: M, body: ManoModel) -> None:
        """MANO's layer; weights from a file are taken as initialised unless the file says otherwise."""
        model.mano, model.initialized = ManoLayer(body), torch.tensor(True)
