"""Families of timm's models: which can be patched, found by patching a small model of each.

Nothing is downloaded: every model has random weights, and small sizes where its class takes them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.blocks.parts import parts_of
from shared_tmu.blocks.positions import ROTARY, has_own_bias
from shared_tmu.classification.family_list import FAMILIES, Family
from shared_tmu.classification.timm_import import import_timm
from shared_tmu.errors import PatchError
from shared_tmu.patching import patch
from shared_tmu.patching.container import MergedBlocks

_SCHEDULE = "2x2"


@dataclass(frozen=True)
class FamilyTrial:
    """What came of patching a family.

    Attributes:
        family: the family.
        is_supported: whether it can.
        prefix: tokens at the front that never merge; None for families that are refused.
        note: how positions are treated; of families that are refused, why.
    """

    family: Family
    is_supported: bool
    prefix: int | None
    note: str


def judge_all() -> Iterator[FamilyTrial]:
    """Trials of all families, in the order of the table."""
    return (judge(family) for family in FAMILIES)


def build(family: Family) -> nn.Module:
    """A small model of a family with random weights, in eval mode.

    Raises:
        MissingDependencyError: timm is not installed.
    """
    timm = import_timm()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed all GPUs as well
        if family.module == "torchvision":
            models = importlib.import_module("torchvision.models")
            model: nn.Module = models.VisionTransformer(**family.options)
        else:
            model = timm.create_model(family.model, **family.options)
        for parameter in model.parameters():  # what starts at 0 would hide faults
            nn.init.normal_(parameter, 0.5 if parameter.ndim == 1 else 0.0, 0.1)
    return model.eval()


def judge(family: Family) -> FamilyTrial:
    """Patch a small model of a family and run it.

    Raises:
        AssertionError: it can be patched, but "off" is not the model bit for bit, or merging has no effect.
    """
    model = build(family)
    images = _noise(model, family)
    with torch.no_grad():
        try:
            handle = patch(model, _SCHEDULE)
        except PatchError as error:
            return FamilyTrial(family, False, None, _shorten(str(error)))
        with handle:
            merged = _tensor_of(model(images))
            note, prefix = _say_positions(model), handle.num_prefix_tokens
            handle.schedule = "off"
            off = _tensor_of(model(images))
        plain = _tensor_of(model(images))
    assert torch.equal(off, plain), f"{family.name}: 'off' differs from the model"
    assert merged.isfinite().all(), f"{family.name}: not finite"
    assert not torch.equal(merged, plain), f"{family.name}: merging has no effect"
    return FamilyTrial(family, True, prefix, note)


def _noise(model: nn.Module, family: Family) -> Tensor:
    settings: Any = getattr(model, "default_cfg", {})
    size = family.options.get("img_size") or family.options.get("image_size")
    sides = (size, size) if isinstance(size, int) else tuple(settings.get("input_size", (3, 224, 224)))[-2:]
    return torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(1))


def _tensor_of(out: Any) -> Tensor:
    tensor: Tensor = out if isinstance(out, Tensor) else out[0]
    return tensor


def _say_positions(model: nn.Module) -> str:
    (blocks,) = (module for module in model.modules() if isinstance(module, MergedBlocks))
    first = parts_of(next(iter(blocks._modules.values())))
    found = ["rotary embedding"] if ROTARY in blocks.trunk.check.given else []
    if has_own_bias(first.attn) or set(blocks.trunk.check.given) - {ROTARY}:
        found.append("bias between positions")
    return " and ".join(found)


def _shorten(message: str) -> str:
    """The part of a refusal that tells what was found."""
    _, found, items = message.partition("Found: ")
    first = items.partition("; ")[0].rstrip(".") if found else message
    for advice in (": this model cannot", ": merging inside", ": pass the owner", " to check what it"):
        first = first.partition(advice)[0]
    return "no list of blocks with attention and MLP" if first == "nothing similar" else first


def show_table(trials: Iterable[FamilyTrial]) -> str:
    """A Markdown table of trials: first what can be patched."""
    rows = sorted(trials, key=lambda trial: not trial.is_supported)
    lines = [
        "| family | example | patched | prefix tokens | positions, or why it is refused |",
        "|---|---|---|---|---|",
    ]
    for trial in rows:
        lines.append(show_row(trial))
    return "\n".join(lines) + "\n"


def show_row(trial: FamilyTrial) -> str:
    """The line of a trial."""
    family = trial.family
    place = f"{family.module} {family.model}" if family.module == "torchvision" else family.model
    prefix = "-" if trial.prefix is None else str(trial.prefix)
    answer = "yes" if trial.is_supported else "no"
    return f"| {family.name} | `{place}` | {answer} | {prefix} | {trial.note} |"
