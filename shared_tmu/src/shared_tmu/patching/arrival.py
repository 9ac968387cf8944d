"""Determines what a ViT passes to its blocks, by running it on noise up to the first block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..blocks.arguments import read_defaults, read_given
from ..blocks.parts import is_sequence_first, parts_of
from ..blocks.positions import Given
from ..blocks.probing import has_numbers, leaving_no_trace
from ..errors import PatchError
from .search import FoundTrunk
from .stepping import BlockStep

_TOKENS = 16  # given to a ViT whose input is tokens
_SIZES = (224, (256, 192))


@dataclass(frozen=True)
class Arrival:
    """The arguments of the first block, for two different noise images.

    Attributes:
        tokens: `[2, N, C]`.
        patches: number of positions in the output of the last convolution before the blocks; None if there
            was none.
        given: positions that it gives the block.
        others: names of further arguments that have an effect, see `read_given`.
    """

    tokens: Tensor
    patches: int | None
    given: Given
    others: list[str]

    @property
    def shape(self) -> tuple[int, int] | None:
        """N and C; None if N is no number of the model's, because it was given tokens."""
        return None if self.patches is None else (self.tokens.shape[1], self.tokens.shape[2])

    def count_prefix(self) -> int | None:
        """Number of leading tokens that are the same for every image; None if it cannot be determined this
        way.

        Raises:
            PatchError: such tokens are not at the front.
        """
        is_same = (self.tokens[0] == self.tokens[1]).all(-1).tolist()  # [N]
        count = is_same.index(False) if False in is_same else len(is_same)
        if count == len(is_same):
            return None
        if any(is_same[count:]):
            places = [number for number, same in enumerate(is_same) if same and number >= count]
            raise PatchError(
                f"of the {len(is_same)} tokens that enter the blocks, {len(places)} after patch tokens are "
                f"the same for every picture (the first is number {places[0]}), but merging protects tokens "
                "only at the front. Put class, register and task tokens at the front, or give "
                "num_prefix_tokens; the other tokens will merge."
            )
        more = len(is_same) - (self.patches or len(is_same))
        return count if count >= more else None


def watch_arrival(model: nn.Module, trunk: FoundTrunk) -> Arrival | None:
    """Run the ViT on noise up to its first block; None if this fails with all usual inputs.

    The model is left unchanged: mode, buffers, attributes, random number generators.

    Raises:
        PatchError: it never calls its blocks as the list gives them, but runs their parts.
    """
    if not has_numbers(model):
        return None
    for root in dict.fromkeys((trunk.owner, model)):
        for given in _guess_inputs(root, trunk):
            arrival = _try(root, trunk, given)
            if arrival is not None:
                return arrival
    return None


class _Arrived(BaseException):
    """Ends a forward pass at the first block; an `except Exception` inside the model must not catch it."""

    def __init__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.block, self.args_, self.kwargs = block, args, kwargs


class _Gate(nn.ModuleList):
    """Replaces the container of the blocks during the test run: the first call raises `_Arrived`."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.__dict__.update(original.__dict__)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise _Arrived(next(iter(self._modules.values())), args, kwargs)

    def __iter__(self) -> Iterator[Any]:
        return iter([self._stop(block) for block in self._modules.values()])

    def children(self) -> Iterator[Any]:
        return iter(self)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Gate(nn.Sequential(*list(self._modules.values())[index]))
        return self._stop(list(self._modules.values())[index])

    @staticmethod
    def _stop(block: Any) -> BlockStep:
        def stop(*args: Any, **kwargs: Any) -> None:
            raise _Arrived(block, args, kwargs)

        return BlockStep(block, stop)


def _try(root: nn.Module, trunk: FoundTrunk, given: Tensor) -> Arrival | None:
    places: list[int] = []
    parts: list[nn.Module] = []

    def note(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            places.append(output.shape[2] * output.shape[3])

    with leaving_no_trace(root):
        for module in root.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(note)
        parts_of(trunk.blocks[0]).norm1.register_forward_pre_hook(lambda part, _: parts.append(part))
        for (owner, name), container in zip(trunk.places, trunk.containers, strict=True):
            owner._modules[name] = _Gate(container)
        try:
            root.forward(given)
        except _Arrived as arrived:
            return _read(arrived, places[-1] if places else None)
        except Exception:  # a forward pass with unsuitable input may raise any error
            pass
    if parts:
        raise PatchError(
            f"{type(trunk.owner).__name__} does not call the blocks of its list, but runs their parts "
            "(x + block.attn(block.norm1(x))), or finds them by name: merging would have no effect. Let it "
            "call each block, x = block(x)."
        )
    return None


def _read(arrived: _Arrived, patches: int | None) -> Arrival | None:
    tokens, *others = (*arrived.args_, *([] if arrived.args_ else arrived.kwargs.values()))
    if not isinstance(tokens, Tensor) or tokens.ndim != 3:
        return None
    batch_first = tokens.transpose(0, 1) if is_sequence_first(arrived.block) else tokens
    if batch_first.shape[0] != 2:
        return None
    named = {name: value for name, value in arrived.kwargs.items() if value is not tokens}
    positional = tuple(others) if arrived.args_ else ()
    given, unknown = read_given(positional, named, read_defaults(arrived.block))
    return Arrival(batch_first, patches, given, unknown)


def _guess_inputs(root: nn.Module, trunk: FoundTrunk) -> Iterator[Tensor]:
    """Two noise images in every usual size; noise tokens if the model has no convolution."""
    draws = torch.Generator("cpu").manual_seed(2)
    conv = next((m for m in root.modules() if isinstance(m, nn.Conv2d)), None)
    like = next(root.parameters(), torch.empty(0))

    def noise(*shape: int) -> Tensor:
        x = torch.empty(2, *shape, dtype=torch.float32, device="cpu").uniform_(-1, 1, generator=draws)
        weight = like if conv is None else conv.weight
        return x.to(weight.device, weight.dtype if weight.is_floating_point() else torch.float32)

    if conv is not None:
        for height, width in dict.fromkeys(_guess_sizes(root, trunk.owner, conv)):
            yield noise(conv.in_channels, height, width)
    elif trunk.owner is root:
        for channels in trunk.guess_channels():
            yield noise(_TOKENS, channels)


def _guess_sizes(root: nn.Module, owner: nn.Module, conv: nn.Conv2d) -> Iterator[tuple[int, int]]:
    places = [owner, getattr(owner, "patch_embed", None), root, getattr(root, "config", None)]
    for place in places:
        for name in ("img_size", "image_size", "input_size"):
            yield from _read_size(getattr(place, name, None))
        for name in ("default_cfg", "pretrained_cfg"):
            settings = getattr(place, name, None)
            if isinstance(settings, dict):
                yield from _read_size(tuple(settings.get("input_size") or ())[-2:])
    rows, columns = (int(n) for n in conv.stride)
    positions = getattr(owner, "pos_embed", None)
    if isinstance(positions, Tensor) and positions.ndim == 3:
        for extra in range(3):
            count = positions.shape[1] - extra
            sides = [n for n in range(1, math.isqrt(max(count, 0)) + 1) if count % n == 0]
            for n in reversed(sides):
                yield count // n * rows, n * columns
                yield n * rows, count // n * columns
    for size in _SIZES:
        yield from _read_size(size)


def _read_size(value: Any) -> Iterator[tuple[int, int]]:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        yield value, value
    elif isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(n, int) for n in value):
        yield value[0], value[1]
