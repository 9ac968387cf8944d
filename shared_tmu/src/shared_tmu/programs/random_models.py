"""Models for timing: random weights at full size within seconds, and copies that share their weights."""

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
    """Inside the `with` block, random initialisation writes a constant: a large model would otherwise draw
    most weights twice.

    Normal draws return their mean, because `trunc_normal_` repeats its draw until every value is within
    bounds.
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
    """A model in eval mode with random weights, for timing: building ViT-H takes seconds instead of minutes.

    Matrices are normal with standard deviation 0.02, vectors keep the zeros and ones that `make` gives them,
    or become zeros where it would draw random numbers. The outputs have no meaning; the speed does not depend
    on the values.

    Args:
        make: builds the model; random numbers are not drawn inside it.
        seed: seed of the weights.
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
    """A copy with its own modules and parameters, whose values share the original's memory.

    So it can be patched, compiled or converted to another dtype without changing the original.
    """
    fresh: dict[int, Any] = {
        id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()
    }
    fresh |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, fresh)
