"""The number format in which a model runs, the reason for it, and its error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from shared_tmu.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CPU_FEATURES = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX512-BF16",
    "bf16": "Arm's BF16 instructions",
}


@dataclass(frozen=True)
class DtypeChoice:
    """A number format, with a short reason.

    Attributes:
        dtype: dtype of weights and activations.
        reason: such as "this CPU has AVX512-BF16".
    """

    dtype: torch.dtype
    reason: str

    def __str__(self) -> str:
        return f"{name_of(self.dtype)} ({self.reason})"


@dataclass(frozen=True)
class VertexError:
    """How far vertices are from those of the same model in float32, in millimetres.

    Attributes:
        mean_mm: mean over all vertices of all samples.
        max_mm: distance of the worst vertex.
        samples: number of samples that were compared.
    """

    mean_mm: float
    max_mm: float
    samples: int

    def __str__(self) -> str:
        noun = "sample" if self.samples == 1 else "samples"
        return f"{self.mean_mm:.3f} mm mean, {self.max_mm:.3f} mm largest over {self.samples} {noun}"


def choose_dtype(name: str, device: torch.device) -> DtypeChoice:
    """The format that `name` selects; `auto` is bfloat16 if the device computes in it, else float32.

    A CPU computes in bfloat16 if it has instructions that multiply it (AMX or AVX512-BF16 on x86, BF16 on
    Arm). Without them every product would be converted to float32 first, and bfloat16 would be slower.

    Args:
        name: `auto`, or one of `DTYPES`.
        device: device on which the model will run.

        Raises:
        InputError: there is no such format.
    """
    if name in DTYPES:
        return DtypeChoice(DTYPES[name], "as asked")
    if name != "auto":
        raise InputError(f"there is no dtype {name!r}: use one of auto, {', '.join(DTYPES)}.")
    if device.type == "cpu":
        return _choose_for_cpu()
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return DtypeChoice(torch.bfloat16, "this GPU computes in it")
    return DtypeChoice(torch.float32, f"this {device.type} device is not known to compute in bfloat16")


def _choose_for_cpu() -> DtypeChoice:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return DtypeChoice(torch.float32, "this PyTorch is built without oneDNN")
    features = cpu_features()
    for feature, name in _CPU_FEATURES.items():
        if feature in features:
            return DtypeChoice(torch.bfloat16, f"this CPU has {name}")
    return DtypeChoice(torch.float32, "this CPU has no instructions for bfloat16")


def cpu_features() -> frozenset[str]:
    """Instruction sets of this CPU, by the names that `torch.cpu.get_capabilities` and Linux give them."""
    if hasattr(torch.cpu, "get_capabilities"):
        return frozenset(name for name, value in torch.cpu.get_capabilities().items() if value is True)
    cpuinfo = Path("/proc/cpuinfo")  # PyTorch before 2.11 does not report them
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    flags = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return frozenset(flags[0]) if flags else frozenset()


def name_of(dtype: torch.dtype) -> str:
    """The name without `torch.`, such as `float32`."""
    return str(dtype).removeprefix("torch.")


@torch.no_grad()
def vertex_error(found: Tensor, reference: Tensor) -> VertexError:
    """Distances between two sets of vertices `[B, V, 3]` in metres."""
    distance_mm = (found.double().cpu() - reference.double().cpu()).norm(dim=-1) * 1000  # [B, V]
    return VertexError(float(distance_mm.mean()), float(distance_mm.max()), len(distance_mm))


@torch.no_grad()
def convert(model: nn.Module, dtype: torch.dtype, vertices: Callable[[], Tensor]) -> VertexError | None:
    """Convert a float32 model to `dtype` in place, and measure how far its vertices move.

    Args:
        model: model in eval mode, on its device.
        dtype: the new dtype.
        vertices: function that runs the model on a fixed batch and returns vertices `[B, V, 3]` in metres;
            called before and after the conversion.

    Returns:
        The error, or None if the model already has `dtype`.
    """
    if all(p.dtype == dtype for p in model.parameters() if p.is_floating_point()):
        return None
    reference = vertices().clone()
    model.to(dtype=dtype)
    return vertex_error(vertices(), reference)
