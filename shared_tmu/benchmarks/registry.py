"""The kernels that `run.py` can time: one entry each, with the tests that must pass first.

To add one, write a function from device and dtype to cases, each with two calls that compute the same result,
and add a row to the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from shared_tmu import MergePlan
from shared_tmu.blocks.attention import proportional_attention
from shared_tmu.kernels import size_channel, using
from shared_tmu.plans import fused, ops
from shared_tmu.plans.matching import match_similar, plan_most_similar

HEADS, WIDTH, PER_HEAD = 16, 1280, 80  # ViT-H, the trunk of HaMeR, WiLoR and SMPLest-X
SHAPES = ((1, 192), (16, 192), (64, 192), (1, 4096))  # images, tokens
REMOVED = 10


@dataclass(frozen=True)
class Case:
    """One shape at which a kernel and its reference are compared.

    Attributes:
        name: description of the shape.
        kernel: runs the kernel.
        reference: computes the same result in torch.
    """

    name: str
    kernel: Callable[[], object]
    reference: Callable[[], object]


@dataclass(frozen=True)
class Kernel:
    """One row of the table.

    Attributes:
        about: what is compared with what.
        tests: file in `shared_tmu/tests` and pytest's `-k` expression in it.
        cases: device and dtype to cases.
    """

    about: str
    tests: tuple[str, str]
    cases: Callable[[torch.device, torch.dtype], Iterator[Case]]


def _shapes() -> Iterator[tuple[str, int, int]]:
    for batch, tokens in SHAPES:
        yield f"{batch} x {tokens} tokens", batch, tokens


def _torch(call: Callable[..., object], *arguments: object) -> object:
    with using(merging="torch"):
        return call(*arguments)


def _plans(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    for name, batch, tokens in _shapes():
        metric = torch.randn(batch, tokens, PER_HEAD, device=device)
        yield Case(
            f"{name}, r = {REMOVED}",
            partial(fused.plan_most_similar, metric, REMOVED, 0),
            partial(_torch, plan_most_similar, metric, REMOVED, 0),
        )


def _matches(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    for name, batch, tokens in _shapes():
        metric = torch.randn(batch, tokens, PER_HEAD, device=device)
        yield Case(name, partial(fused.match_similar, metric, 0), partial(_torch, match_similar, metric, 0))


def _merges(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    for name, batch, tokens in _shapes():
        first, plan = (
            _torch(plan_most_similar, torch.randn(batch, count, PER_HEAD, device=device), REMOVED, 0)
            for count in (tokens, tokens - REMOVED)
        )
        x = torch.randn(batch, tokens - REMOVED, WIDTH, device=device, dtype=dtype)
        size = torch.randint(1, 5, x.shape[:2], device=device).float()
        yield Case(
            f"{name}, r = {REMOVED}",
            partial(fused.merge_and_compose, x, plan, size, first),
            partial(_torch, _merge_and_then, x, plan, size, first),
        )


def _merge_and_then(x: Tensor, plan: MergePlan, size: Tensor, before: MergePlan) -> object:
    return ops.merge(x, plan, size), before.then(plan).source_map


def _attended(batch: int, tokens: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    qkv = torch.randn(batch, tokens, 3, HEADS, PER_HEAD, device=device, dtype=dtype)
    size = torch.randint(1, 5, (batch, tokens), device=device).float()
    return *qkv.permute(2, 0, 3, 1, 4).unbind(0), size


def _widenings(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    for name, batch, tokens in _shapes():
        widen = partial(size_channel.widen, *_attended(batch, tokens, device, dtype), PER_HEAD**-0.5)
        yield Case(name, widen, partial(_torch, widen))


def _attentions(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    def attend(path: str, inputs: tuple[Tensor, ...]) -> object:
        with using(attention=path):
            return proportional_attention(*inputs)

    for name, batch, tokens in _shapes():
        inputs = _attended(batch, tokens, device, dtype)
        yield Case(name, partial(attend, "channel", inputs), partial(attend, "mask", inputs))


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "plan": Kernel(
            "matching, selection and source map in Triton; in torch",
            ("kernels/test_kernels.py", "plan or pairs or position or contiguous"),
            _plans,
        ),
        "match": Kernel(
            "similarities and their maximum in Triton; in torch",
            ("kernels/test_kernels.py", "similarities"),
            _matches,
        ),
        "merge": Kernel(
            "merging, sizes and source map in Triton; in torch",
            ("kernels/test_kernels.py", "merges or lone or sums or gradients"),
            _merges,
        ),
        "widen": Kernel(
            "widening for flash attention in Triton; in torch",
            ("kernels/test_kernels.py", "widening"),
            _widenings,
        ),
        "attention": Kernel(
            "sizes in a key channel, flash attention; in a mask",
            ("kernels/test_size_channel.py", ""),
            _attentions,
        ),
    }
)
