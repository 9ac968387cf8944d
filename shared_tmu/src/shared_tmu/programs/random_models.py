"""Models to time: random weights at full size in seconds, and copies that share their weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_STD = 0.02

M = TypeVar("M", bound=nn.Module)


class _NoDraws(TorchFunctionMode):
    """Inside, random initialisation writes a constant: otherwise a large model would draw most weights twice.

    Normal draws become their mean, because `trunc_normal_` draws again until every value is within bounds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.normal_:
            return args[0].fill_(args[1] if len(args) > 1 else kwargs.get("mean", 0.0))
        if func in (Tensor.uniform_, Tensor.erfinv_):
            return args[0].zero_()
        return func(*args, **kwargs)


def build_random(make: Callable[[], M], seed: int = 0) -> M:
    """A model in eval mode with random weights, for timing: ViT-H takes seconds, not minutes.

    Matrices are normal with standard deviation 0.02, vectors keep the zeros and ones that `make` gives, or
    become zeros where it would draw. The values say nothing about the model; how long it takes does not
    depend on them.

    Args:
        make: builds the model; the drawing of random numbers inside it is skipped.
        seed: of the weights.
    """
    with _NoDraws():
        model = make()
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim > 1:
                    parameter.normal_(std=_STD, generator=draws)
                elif "Norm" not in type(module).__name__:
                    parameter.fill_(1.0 if "gamma" in name else 0.0)
    return model.eval()


def share_weights(model: M) -> M:
    """A copy with modules and parameters of its own, whose values lie in the same memory.

    So it can be patched, compiled or converted to another dtype without changing the original.
    """
    fresh: dict[int, Any] = {
        id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()
    }
    fresh |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, fresh)
