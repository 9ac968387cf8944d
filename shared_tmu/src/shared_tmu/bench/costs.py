"""What a call costs besides time: memory, and the distance of its vertices from a reference."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from shared_tmu.programs.timing import synchronize

MEMORY_MEANS = {
    "cpu": "largest amount of memory that torch held at once for one call, without weights or libraries' own",
    "cuda": "torch.cuda.max_memory_allocated during preparation and call, minus what was allocated before",
}
_MIB = 2**20


def peak_memory_mib(call: Callable[[], object], device: torch.device) -> float | None:
    """Largest amount of memory that torch's allocator held at once during a call, beyond what it held before;
    MiB. None for devices without such a count. See `MEMORY_MEANS`.
    """
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / _MIB
    return _peak_on_cpu(call) / _MIB if device.type == "cpu" else None


def _peak_on_cpu(call: Callable[[], object]) -> int:
    """Running sum of the allocations and releases that torch's profiler saw; bytes."""
    from torch.profiler import ProfilerActivity, profile

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise it reports its own start and end on stderr

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        output = call()
    del output
    results = profiled.profiler.kineto_results
    changes = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        held += change
        peak = max(peak, held)
    return peak


@torch.no_grad()
def vertex_error_mm(found: Tensor, reference: Tensor) -> dict[str, float] | None:
    """Mean and largest distance in millimetres between two sets of vertices `[B, V, 3]` in metres; None if
    any of them is not finite, for then there is neither.
    """
    distance = (found.double().cpu() - reference.double().cpu()).norm(dim=-1) * 1000  # [B, V]
    if not distance.isfinite().all():
        return None
    return {"mean": float(distance.mean()), "max": float(distance.max())}
