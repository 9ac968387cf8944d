"""Captures a model in a CUDA graph: one launch for a whole forward pass, for one batch shape and one
schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.errors import CaptureError
from shared_tmu.patching.container import MergedBlocks

WARMUP = 3  # forward passes before the capture: kernels are compiled and chosen, workspaces allocated


def capture(model: nn.Module | Callable[..., Any], *example: Any) -> CapturedModel:
    """Record the kernels that `model(*example)` launches on the GPU, so that later calls launch all of them
    at once.

    With few tokens and small batches a GPU waits for the CPU to launch the next kernel; a graph avoids this.
    Patch the model, put it into eval mode and, if wanted, compile it first. No gradients are computed. To use
    a captured model in several threads, or on several streams at once, capture it once for each.

    Args:
        model: a module on a GPU, or a method of one, patched or not.
        *example: arguments for the model: tensors, and dictionaries, lists, tuples and dataclasses of them.
            Only the shapes of tensors matter, not their values. Everything that is not a tensor is fixed at
            its present value.

    Returns:
        A callable for arguments of the same shapes, dtypes and devices.

    Raises:
        CaptureError: there are no CUDA tensors, the model is in training mode or not a module, or the forward
            pass cannot be captured, for instance because it waits for the GPU.

    Source: PyTorch, https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """
    module = getattr(model, "__self__", model)
    if not isinstance(module, nn.Module):
        raise CaptureError(
            f"capture needs a module or a method of one, but this is a {type(model).__name__}."
        )
    devices = {leaf.device for _, leaf in _leaves(example) if isinstance(leaf, Tensor)}
    if len(devices) != 1 or next(iter(devices)).type != "cuda":
        found = ", ".join(sorted(str(device) for device in devices)) or "none"
        raise CaptureError(
            f"a CUDA graph needs all tensors on one CUDA device, but those of the example are on: {found}. "
            "On a CPU, call the model itself."
        )
    if module.training:
        raise CaptureError("this model is in training mode: call model.eval() before capturing it.")
    (device,) = devices
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.inference_mode(False), torch.no_grad(), _autocast_without_cache():
        inputs = _map_tensors(torch.clone, example)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARMUP):
                model(*inputs)
        torch.cuda.current_stream(device).wait_stream(side)
        try:
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                outputs = model(*inputs)
        except RuntimeError as error:
            raise CaptureError(
                f"the forward of {type(module).__name__} cannot be captured in a CUDA graph, usually "
                "because something in it waits for the GPU (.item(), a boolean mask, a copy to the CPU): "
                f"{error}"
            ) from error
    return CapturedModel(module, inputs, outputs, graph.replay)


class CapturedModel:
    """A model whose forward pass is replayed; see `capture`.

    Args:
        module: the module that was captured; its parts are checked for changes.
        inputs: the arguments that the replay reads.
        outputs: the tensors that the replay writes.
        replay: starts the forward pass on `inputs`, without waiting for it.
    """

    def __init__(
        self, module: nn.Module, inputs: tuple[Any, ...], outputs: Any, replay: Callable[[], None]
    ) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self._replay = replay
        self._parts = _Parts(module)

    def __call__(self, *arguments: Any, copy: bool = True) -> Any:
        """The model's outputs for new values of the arguments, which are copied into the graph's tensors.

        Args:
            *arguments: arguments with the structure, shapes, dtypes and device of the example.
            copy: return copies of the outputs; False returns the graph's own tensors, which the next call
                overwrites. The plans of a patch with `record=True` are always overwritten.

        Raises:
            CaptureError: the arguments differ from the example, or the model has changed since: another
                schedule, patch or mode, or tensors that were moved or replaced. New values in the same
                tensors are used.
        """
        with torch.inference_mode(False), torch.no_grad():
            for static, new in self._matched(arguments):
                static.copy_(new)
            self._replay()
            self._parts.check()  # the GPU is busy meanwhile
            return _map_tensors(torch.clone, self._outputs) if copy else self._outputs

    def _matched(self, arguments: tuple[Any, ...]) -> list[tuple[Tensor, Tensor]]:
        """Pairs of the graph's tensors and the tensors to copy into them; differences are refused before
        anything is copied.
        """
        want, found = dict(_leaves(self._inputs)), dict(_leaves(arguments))
        if want.keys() != found.keys():
            differing = ", ".join(sorted(want.keys() ^ found.keys()))
            raise CaptureError(
                f"the captured model expects {_list(want)}; these arguments differ in {differing}."
            )
        pairs = []
        for place, static in want.items():
            new = found[place]
            if isinstance(static, Tensor) and isinstance(new, Tensor):
                if _describe(static) != _describe(new):
                    raise CaptureError(
                        f"{place} is {_describe(new)}, but the model was captured for {_describe(static)}: "
                        "capture it again for this shape, or pad the batch."
                    )
                pairs.append((static, new))
            elif type(static) is not type(new) or static != new:
                raise CaptureError(
                    f"{place} is {new!r}, but the model was captured with {static!r}: capture it again."
                )
        return pairs


class _Parts:
    """Children, parameters and buffers of a module at capture time, kept alive so that their memory is not
    reused."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._children = [
            (owner._modules, name, child, getattr(child, "settings", None))
            for owner in module.modules()
            for name, child in owner._modules.items()
            if child is not None
        ]
        self._tensors = [
            (tensors, name, tensor.detach(), tensor.data_ptr())
            for owner in module.modules()
            for tensors in (owner._parameters, owner._buffers)
            for name, tensor in tensors.items()
            if tensor is not None
        ]

    def check(self) -> None:
        """Refuse a module that has changed since the capture."""
        changed = None
        if self._module.training:
            changed = "it is in training mode now"
        for children, name, child, settings in self._children:
            now = children.get(name)
            if isinstance(child, MergedBlocks) and now is child and child.settings is not settings:
                assert settings is not None
                changed = f"its schedule was '{settings.schedule}' and is '{child.settings.schedule}'"
            elif now is not child:
                patched = isinstance(child, MergedBlocks) or isinstance(now, MergedBlocks)
                changed = "it has been patched, or a patch removed" if patched else f"{name} was replaced"
        for tensors, name, _, pointer in self._tensors:
            tensor = tensors.get(name)
            if tensor is None or tensor.data_ptr() != pointer:
                changed = f"its tensor {name} was moved or replaced"
                break
        if changed:
            raise CaptureError(f"the model has changed since it was captured: {changed}. Capture it again.")


def _leaves(tree: Any, place: str = "argument") -> Iterator[tuple[str, Any]]:
    """Everything that is not a container, with its place in the arguments."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{place}[{key!r}]")
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _leaves(value, f"{place}[{number}]")
    elif is_dataclass(tree) and not isinstance(tree, type):
        for field in fields(tree):
            yield from _leaves(getattr(tree, field.name), f"{place}.{field.name}")
    else:
        yield place, tree


def _map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """The same containers, with `function` applied to each tensor."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: _map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        values = [_map_tensors(function, value) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    if is_dataclass(tree) and not isinstance(tree, type):
        changes = {field.name: _map_tensors(function, getattr(tree, field.name)) for field in fields(tree)}
        return replace(tree, **changes)
    return tree


def _describe(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {tensor.dtype} on {tensor.device}".replace("torch.", "")


def _list(leaves: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{place} {_describe(leaf) if isinstance(leaf, Tensor) else repr(leaf)}"
        for place, leaf in leaves.items()
    )


def _autocast_without_cache() -> torch.autocast:
    """Autocast with its current settings, but without its cache, so that no cast is reused by another
    forward."""
    return torch.autocast(
        "cuda",
        dtype=torch.get_autocast_dtype("cuda"),
        enabled=torch.is_autocast_enabled("cuda"),
        cache_enabled=False,
    )
