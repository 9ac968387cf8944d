"""The start of every training program: checks before any work, and a Lightning trainer that says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from shared_tmu.training.checkpointing import WholeCheckpoints
from shared_tmu.training.machine import check_machine
from shared_tmu.training.recipes import check_folders


class Machine(Protocol):
    """The settings that say where training runs."""

    @property
    def accelerator(self) -> str: ...

    @property
    def devices(self) -> int | str: ...

    @property
    def precision(self) -> str: ...


def check_start(machine: Machine, batch: int, folders: Mapping[str, Path]) -> int:
    """Find out before any work whether a run can be done on this machine and write its files.

    Args:
        machine: where it runs.
        batch: pictures per step, over all devices.
        folders: folders by the name of their setting.

    Returns:
        Number of devices.

    Raises:
        TMUError: the machine lacks something, or a folder cannot be written to.
    """
    devices = check_machine(machine.accelerator, machine.devices, machine.precision, batch)
    check_folders(folders)
    return devices


def quiet_trainer(
    machine: Machine, steps: int, folder: Path, callbacks: Sequence[Callback], **more: Any
) -> pl.Trainer:
    """A trainer that writes nothing but what its callbacks write, with complete checkpoints.

    Args:
        machine: where it runs.
        steps: number of optimiser steps.
        folder: of the run.
        callbacks: in the order in which they are called.
        **more: further arguments of `pl.Trainer`, and other values for those that are set here.
    """
    options: dict[str, Any] = {
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(
        accelerator=machine.accelerator,
        devices=machine.devices,
        precision=machine.precision,  # type: ignore[arg-type]
        max_steps=steps,
        default_root_dir=folder,
        plugins=[WholeCheckpoints()],
        callbacks=list(callbacks),
        **{**options, **more},
    )
