"""Test runs of parts of a model that leave the model unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def has_numbers(module: nn.Module) -> bool:
    """Whether a model can be computed: not on the meta device, and not under a fake tensor mode."""
    return not any(p.is_meta or is_fake(p) for p in module.parameters())


@contextmanager
def leaving_no_trace(module: nn.Module) -> Iterator[None]:
    """Anything inside the module may be changed in the `with` block; at its end, the module is restored.

    Inside the block the module is in eval mode and has no hooks, except those of `torch.nn.utils` that
    compute weights (pruning, weight norm). Buffers and other tensors, except parameters, are copies, so that
    a part may write into them. Random number generators are restored, too.
    """
    parts = list(module.modules())
    before = [(part.__dict__, dict(part.__dict__)) for part in parts]
    held = [value for part in parts for value in part.__dict__.values()]
    before += [(value, dict(value)) for value in held if isinstance(value, dict)]
    lists = [(value, list(value)) for value in held if isinstance(value, list)]
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=_cuda_devices(module)))
            stack.enter_context(torch.no_grad())
            for kind in {"cpu", *(p.device.type for p in module.parameters())} - {"meta"}:
                stack.enter_context(torch.autocast(kind, enabled=False))
            weights = {id(part._parameters) for part in parts}
            _copy_tensors(mutable for mutable, _ in before if id(mutable) not in weights)
            for part in parts:
                part.__dict__["training"] = False
                _drop_hooks(part)
            yield
    finally:
        for mutable, content in before:
            _restore(mutable, content)
        for items, all_items in lists:
            items[:] = all_items


def _copy_tensors(places: Iterable[dict[Any, Any]]) -> None:
    """Replace the tensors in dictionaries by copies; one that is in several places stays one."""
    copies: dict[int, Tensor] = {}
    for place in places:
        for key, value in place.items():
            if isinstance(value, Tensor):
                if id(value) not in copies:
                    copies[id(value)] = value.clone()
                place[key] = copies[id(value)]


def _restore(held: dict[Any, Any], content: dict[Any, Any]) -> None:
    if list(held) != list(content) or any(held[key] is not value for key, value in content.items()):
        held.clear()
        held.update(content)


def _cuda_devices(module: nn.Module) -> list[int]:
    return sorted({p.device.index for p in module.parameters() if p.device.type == "cuda"})


def _drop_hooks(module: nn.Module) -> None:
    for name in _HOOKS:
        hooks = getattr(module, name)
        for key, hook in list(hooks.items()):
            if not type(hook).__module__.startswith("torch.nn.utils"):
                del hooks[key]


def randomise(module: nn.Module, device: torch.device | None, dtype: torch.dtype | None) -> None:
    """Replace all plain floating-point weights by random ones, inside `leaving_no_trace`.

    Weights near zero (layer scale, adapters before they are trained) would hide what a block computes.

    Args:
        module: module whose weights are replaced.
        device: device of the new weights and of buffers; None keeps it.
        dtype: dtype of the new weights and of buffers; None keeps it.
    """
    draws = torch.Generator("cpu").manual_seed(0)
    done: dict[int, Any] = {}  # tied weights stay tied
    for part in module.modules():
        for name, p in part._parameters.items():
            if type(p) is nn.Parameter and p.is_floating_point():
                if id(p) not in done:
                    new = torch.empty(p.shape, dtype=torch.float32, device="cpu")
                    new.uniform_(-1, 1, generator=draws).mul_(p.shape[-1] ** -0.5 if p.ndim > 1 else 1.0)
                    new = new.to(device or p.device, dtype or p.dtype)
                    done[id(p)] = nn.Parameter(new, requires_grad=False)
                part._parameters[name] = done[id(p)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                to = dtype if buffer.is_floating_point() else None
                part._buffers[name] = buffer.to(device or buffer.device, to or buffer.dtype)


def random_tokens(batch: int, count: int, channels: int, like: Tensor) -> Tensor:
    """Tokens `[B, N, C]` in -1..1, the same at every call, on the device and in the dtype of `like`."""
    draws = torch.Generator("cpu").manual_seed(1)
    x = torch.empty(batch, count, channels, dtype=torch.float32, device="cpu").uniform_(
        -1, 1, generator=draws
    )
    return x.to(like.device, like.dtype if like.is_floating_point() else torch.float32)
