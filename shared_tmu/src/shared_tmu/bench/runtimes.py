"""Ways to run a model that is timed: one row each; `--runtime` names them.

To add one, write a function `(module, arguments, schedule) -> call` and list its row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from shared_tmu.errors import InputError
from shared_tmu.export import CompiledModel, OnnxModel, export_onnx
from shared_tmu.runtime.cuda_graphs import capture
from shared_tmu.runtime.packing import pack_weights
from shared_tmu.schedule import Schedule

Call = Callable[[], object]
# all variants of a model share code, and torch's default limit would leave the ninth uncompiled
_MAX_VARIANTS = 1024


@dataclass(frozen=True)
class Runtime:
    """One row of the table.

    Attributes:
        name: what users type.
        about: one line for `--help`.
        prepare: `(module, arguments, schedule)` to a function that runs `module(*arguments)` and returns its
            output. The module is already patched (or the unpatched model, or its slicing floor), in eval
            mode, on the device, in its dtype. The function may change the module, but its tensors are shared.
            Compiling, capturing and exporting happen here, untimed, under `torch.inference_mode`.
        devices: device types on which it works.
        is_torch: whether its tensors are torch's, so that torch's memory count is valid.
        release: frees what the process keeps of all models prepared this way, when none is needed any more.
    """

    name: str
    about: str
    prepare: Callable[[nn.Module, tuple[Any, ...], Schedule], Call]
    devices: tuple[str, ...] = ("cpu", "cuda")
    is_torch: bool = True
    release: Callable[[], None] | None = None


def prepare_eager(module: nn.Module, arguments: tuple[Any, ...], schedule: Schedule) -> Call:
    """Call the module unchanged."""
    return lambda: module(*arguments)


def prepare_packed(module: nn.Module, arguments: tuple[Any, ...], schedule: Schedule) -> Call:
    """Call the module with the weights of its linear layers packed for the CPU's matrix products."""
    pack_weights(module)
    return lambda: module(*arguments)


def prepare_compiled(module: nn.Module, arguments: tuple[Any, ...], schedule: Schedule) -> Call:
    """`torch.compile` with inductor, for these shapes; on a CPU with packed weights and for any batch
    size.
    """
    import torch._dynamo

    if next(module.parameters()).device.type == "cpu":
        frozen = CompiledModel(module)
        frozen(*arguments)
        return lambda: frozen(*arguments)
    compiled = torch.compile(module, dynamic=False)
    with torch._dynamo.config.patch(recompile_limit=_MAX_VARIANTS):
        compiled(*arguments)
    return lambda: compiled(*arguments)


def prepare_graph(module: nn.Module, arguments: tuple[Any, ...], schedule: Schedule) -> Call:
    """A CUDA graph of the whole forward pass; the time includes copying arguments in and outputs out."""
    captured = capture(module, *arguments)
    return lambda: captured(*arguments)


def prepare_compiled_graph(module: nn.Module, arguments: tuple[Any, ...], schedule: Schedule) -> Call:
    """A CUDA graph of the module compiled by `torch.compile`."""
    import torch._dynamo

    with torch._dynamo.config.patch(recompile_limit=_MAX_VARIANTS):
        captured = capture(torch.compile(module, dynamic=False), *arguments)
    return lambda: captured(*arguments)


def prepare_onnx(module: nn.Module, arguments: tuple[Any, ...], schedule: Schedule) -> Call:
    """An ONNX file for this batch size, run by onnxruntime; the file is removed after loading.

    Raises:
        InputError: the module's argument is not a dictionary of tensors, which models take.
    """
    if len(arguments) != 1 or not isinstance(arguments[0], Mapping):
        raise InputError("runtime 'onnx' runs only whole models: use --scope model.")
    (batch,) = arguments
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(module, batch, path, dynamic_batch=False)
        exported = OnnxModel(path)
    return lambda: exported(batch)


def table(*rows: Runtime) -> Mapping[str, Runtime]:
    """Runtimes by name, read-only."""
    return MappingProxyType({row.name: row for row in rows})


RUNTIMES: Mapping[str, Runtime] = table(
    Runtime("eager", "plain PyTorch", prepare_eager),
    Runtime("packed", "plain PyTorch on packed weights", prepare_packed, devices=("cpu",)),
    Runtime("compile", "torch.compile with inductor", prepare_compiled, release=torch.compiler.reset),
    Runtime("onnx", "exported to ONNX, in onnxruntime", prepare_onnx, devices=("cpu",), is_torch=False),
    Runtime("graph", "one CUDA graph", prepare_graph, devices=("cuda",)),
    Runtime(
        "compile+graph",
        "torch.compile, then one CUDA graph",
        prepare_compiled_graph,
        devices=("cuda",),
        release=torch.compiler.reset,
    ),
)


def find_runtime(name: str, device: torch.device) -> Runtime:
    """The runtime of that name, if it works on this device.

    Raises:
        InputError: there is no such runtime, or it does not work on this device.
    """
    if name not in RUNTIMES:
        raise InputError(f"there is no runtime {name!r}: use one of {', '.join(RUNTIMES)}.")
    runtime = RUNTIMES[name]
    if device.type not in runtime.devices:
        fitting = [row.name for row in RUNTIMES.values() if device.type in row.devices]
        raise InputError(
            f"runtime {name!r} works on {', '.join(runtime.devices)}, not on {device.type}: "
            f"use one of {', '.join(fitting)}."
        )
    return runtime
