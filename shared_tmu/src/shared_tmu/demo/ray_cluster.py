"""A Ray cluster: connecting to it, and how many workers it can hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from shared_tmu.errors import InputError, MissingDependencyError


def require_ray() -> Any:
    """Ray, with Ray Data.

    Raises:
        MissingDependencyError: it is not installed.
    """
    # read when the module is loaded: no reports to others, and no warnings about constructors of actors
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(
            "--engine ray needs Ray Data, which is not installed: pip install 'shared_tmu[ray]'."
        ) from error
    return ray


def place_of(address: str | None) -> str:
    """The address of the cluster; None takes RAY_ADDRESS, else starts Ray on this machine.

    Raises:
        InputError: it is the address of Ray's client.
    """
    place = address or os.environ.get("RAY_ADDRESS") or "local"
    if place.startswith("ray://"):
        raise InputError(
            f"the address {place} is for Ray's client, which has no Ray Data: run the demo on a machine of "
            "the cluster, with --ray_address auto."
        )
    return place


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster inside the `with` block.

    Args:
        address: see `place_of`.

    Raises:
        InputError: there is no such cluster, or it runs another version.
    """
    ray = require_ray()
    place = place_of(address)
    own: dict[str, Any] = {"include_dashboard": False} if place == "local" else {}
    try:
        ray.init(address=place, logging_level="ERROR", log_to_driver=False, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"cannot use the Ray cluster {place} ({' '.join(str(error).split())}): start one with `ray start "
            "--head`, or leave --ray_address and RAY_ADDRESS out to use this machine only."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def count_workers(ray: Any, device: torch.device, threads: int) -> int:
    """The largest number of workers that can run at a time: each with the threads of a run on one machine, or
    with one GPU.

    Raises:
        InputError: no machine is large enough.
    """
    cpus, needs_gpu = needs_of(device, threads).values()
    machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
    each = [min(m.get("CPU", 0) // cpus, m.get("GPU", 0) if needs_gpu else m.get("CPU", 0)) for m in machines]
    if (workers := int(sum(each))) > 0:
        return workers
    what = "a GPU" if needs_gpu else f"{cpus} CPUs, the threads of this process"
    instead = "--device cpu" if needs_gpu else "a smaller OMP_NUM_THREADS"
    raise InputError(f"no machine of the cluster ({len(machines)}) offers {what}: try {instead}.")


def needs_of(device: torch.device, threads: int) -> dict[str, int]:
    """What a worker takes of a machine: a GPU, or the CPUs of its threads."""
    is_gpu = device.type == "cuda"
    return {"num_cpus": 1 if is_gpu else threads, "num_gpus": int(is_gpu)}
