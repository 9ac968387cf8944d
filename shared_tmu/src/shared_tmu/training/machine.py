"""Checks before training that the devices in a configuration exist."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException

from shared_tmu.errors import ConfigError
from shared_tmu.limits import shown
from shared_tmu.training.drawing import cores

_REFUSALS = (  # errors of Lightning and its accelerators
    MisconfigurationException, RuntimeError, ValueError, TypeError, ImportError, IndexError, AssertionError,
)  # fmt: skip


def check_machine(accelerator: str, devices: int | str, precision: str, batch_size: int) -> int:
    """Refuse devices that cannot be used here; returns how many there will be.

    Args:
        accelerator, devices, precision: arguments of Lightning's Trainer.
        batch_size: the smallest batch, over all devices.

        Raises:
        ConfigError: there are no such devices, or more devices than pictures in a batch.
    """
    asked = f"accelerator={accelerator}, devices={shown(devices)}, precision={precision}"
    if isinstance(devices, str) and devices.isdecimal():
        devices = int(devices)
    if isinstance(devices, int) and devices > max(cores(), 128):
        raise ConfigError(f"devices={devices} was asked for, but there are fewer devices: use devices=auto.")
    try:
        with _quiet():
            trainer = pl.Trainer(
                accelerator=accelerator,
                devices=devices,
                precision=precision,  # type: ignore[arg-type]
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except _REFUSALS as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{asked} cannot be used here ({reason[0].rstrip('.')}): try auto.") from error
    kind = trainer.strategy.root_device.type
    if kind == "cpu" and trainer.world_size > cores():
        raise ConfigError(f"devices={devices} was asked for, but this machine has {cores()} processor cores.")
    if kind == "cpu" and precision == "16-mixed":
        raise ConfigError(
            "precision=16-mixed was asked for, but training on a CPU needs 32-true or bf16-mixed."
        )
    if trainer.world_size > batch_size:
        raise ConfigError(
            f"devices={devices} was asked for, more than the {batch_size} pictures of a batch: raise "
            "batch_size or use fewer devices."
        )
    return trainer.world_size


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Lightning's messages about devices here: it repeats them when training begins."""
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
