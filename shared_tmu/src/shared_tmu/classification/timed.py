"""Classifiers to be timed: sizes of timm's models, or of the real ViT-S, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from shared_tmu.classification.choosing import crop_of_timm
from shared_tmu.classification.classifier import Classifier, program_of
from shared_tmu.classification.crops import Crop
from shared_tmu.classification.focus import IMAGE_SIZE, NAME
from shared_tmu.classification.photo_vit import PhotoViT, PhotoViTConfig
from shared_tmu.classification.timm_import import import_timm
from shared_tmu.errors import InputError
from shared_tmu.programs.program import Program
from shared_tmu.programs.random_models import build_random

TIMED_HELP = f"timm:NAME (or timm:NAME@PX for another picture size) or {NAME}, with random weights"
_TIMM = "timm:"
_CLASSES = 1000


def is_timed(name: str) -> bool:
    """Whether this names a classifier, and not an installed model of meshes."""
    return name.startswith(_TIMM) or name.partition("@")[0] == NAME


def timed_classifier(name: str) -> Program:
    """The program of a classifier with random weights, on which its speed does not depend.

    Args:
        name: see `TIMED_HELP`.

    Raises:
        InputError: there is no such model, or not for such pictures.
    """
    plain, _, side = name.removeprefix(_TIMM).partition("@")
    if side and not (side.isdecimal() and 0 < int(side) <= 4096):
        raise InputError(f"--model {name}: after @ comes the side of the pictures in pixels, such as @384.")
    size = int(side) if side else None
    if plain == NAME:
        return program_of(name, lambda: _real_sizes(size), Path(plain))
    timm = import_timm()
    if not timm.is_model(plain.split(".")[0]):
        raise InputError(f"timm has no model {plain!r}: timm.list_models('vit*') lists some.")
    return program_of(name, lambda: _of_timm(timm, plain, size), Path(plain))


def _real_sizes(size: int | None) -> nn.Module:
    sides = IMAGE_SIZE if size is None else (size, size)
    vit = build_random(lambda: PhotoViT(PhotoViTConfig(image_size=sides)))
    probe = nn.Linear(2 * vit.embed_dim, _CLASSES)
    return Classifier(vit, probe, Crop(sides), _CLASSES).eval()


def _of_timm(timm: Any, name: str, size: int | None) -> nn.Module:
    options = {} if size is None else {"img_size": size}
    try:
        vit = build_random(lambda: timm.create_model(name, **options))
    except (TypeError, AssertionError, RuntimeError) as error:
        raise InputError(f"{name} cannot be made with pictures of {size} pixels: {error}.") from error
    return Classifier(vit, None, crop_of_timm(timm, vit), _CLASSES).eval()
