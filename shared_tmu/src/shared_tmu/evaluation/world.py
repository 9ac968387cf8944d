"""The processes that share an evaluation: one, several, or those that torchrun or SLURM started."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch

from shared_tmu.errors import InputError, MissingDependencyError

_PATIENCE = timedelta(days=7)
"""How long processes wait for the one that scores and times."""
_QUIET = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")


@dataclass(frozen=True)
class World:
    """All processes of an evaluation, and which of them this is.

    Args:
        devices: processes on each machine.
        num_nodes: machines.
        rank: number of this process among all.
        local_rank: among those of its machine.
        device: where this process computes.
    """

    devices: int = 1
    num_nodes: int = 1
    rank: int = 0
    local_rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def size(self) -> int:
        """All processes."""
        return self.devices * self.num_nodes

    @property
    def is_first(self) -> bool:
        """Whether this process scores, times and writes results."""
        return self.rank == 0


def find_world(devices: int, num_nodes: int, device: torch.device) -> World:
    """What a command line asks for, or what torchrun or SLURM have started.

    Args:
        devices: processes on each machine; 1 takes as many as were started.
        num_nodes: machines; 1 likewise.
        device: device of a single process; others use the devices of its type by their local rank.

    Raises:
        InputError: another number of processes was started, or there are not so many devices here.
        MissingDependencyError: Lightning is not installed.
    """
    environment = _started_by()
    if environment is None:
        local = int(os.environ.get("LOCAL_RANK", 0))  # Lightning starts the others of this machine
        rank = int(os.environ.get("NODE_RANK", 0)) * devices + local
    else:
        devices, num_nodes = _agreed(environment, devices, num_nodes)
        rank, local = environment.global_rank(), environment.local_rank()
    if devices * num_nodes == 1:
        return World(device=device)
    if device.type == "cuda":
        there = torch.cuda.device_count()
        device = torch.device("cuda", local)
    else:
        there = os.cpu_count() or 1
    if devices > there:
        raise InputError(
            f"--devices {devices} was asked for; this machine has {there} of type {device.type}."
        )
    return World(devices, num_nodes, rank, local, device)


def share_threads(world: World) -> None:
    """Divide this machine's threads among its processes, unless OMP_NUM_THREADS says how many each has."""
    if world.devices > 1 and "OMP_NUM_THREADS" not in os.environ:
        own = max(1, torch.get_num_threads() // world.devices)
        torch.set_num_threads(own)
        os.environ["OMP_NUM_THREADS"] = str(own)  # for those that are started from here


def make_trainer(world: World) -> Any:
    """Lightning's Trainer for these processes, which only predicts."""
    pl = require_lightning()
    from pytorch_lightning.strategies import DDPStrategy

    kind = {"cuda": "gpu"}.get(world.device.type, world.device.type)
    if world.size > 1:
        backend = "nccl" if kind == "gpu" else "gloo"
        placed: dict[str, Any] = {
            "devices": world.devices,
            "num_nodes": world.num_nodes,
            "strategy": DDPStrategy(process_group_backend=backend, timeout=_PATIENCE),
        }
    else:
        placed = {"devices": [world.device.index or 0] if kind == "gpu" else 1}
    with quiet():
        return pl.Trainer(
            accelerator=kind,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,  # it would repeat samples until each process has as many
            **placed,
        )


def require_lightning() -> Any:
    """PyTorch Lightning.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import pytorch_lightning
    except ImportError as error:
        raise MissingDependencyError(
            "evaluation runs through PyTorch Lightning: pip install 'shared_tmu[eval]'."
        ) from error
    return pytorch_lightning


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, Lightning says nothing that is no error: it reports devices and workers, not problems."""
    loggers = [logging.getLogger(name) for name in _QUIET]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="(pytorch_lightning|lightning_fabric|torch).*")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _started_by() -> Any:
    """Lightning's description of what started these processes; None if nothing but this program does."""
    require_lightning()
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    with quiet():
        for kind in (TorchElasticEnvironment, SLURMEnvironment):
            if kind.detect():
                try:
                    return kind()
                except RuntimeError as error:  # SLURM's settings are not those that Lightning takes
                    raise InputError(f"processes cannot find each other: {error}") from error
    return None


def _agreed(environment: Any, devices: int, num_nodes: int) -> tuple[int, int]:
    """Processes on each machine, and machines, as they were started.

    Raises:
        InputError: the command line asks for others.
    """
    size, local = environment.world_size(), _local_size()
    nodes = max(1, size // local)
    if devices not in (1, local) or num_nodes not in (1, nodes):
        raise InputError(
            f"--devices {devices} --num_nodes {num_nodes} was asked for, but {size} processes were started, "
            f"{local} on each of {nodes} machines: leave both flags out."
        )
    return local, nodes


def _local_size() -> int:
    """Processes that torchrun or SLURM started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or 1)
