"""Checkpoints of a training run: written atomically, with the previous one kept, and read only if
complete."""

from __future__ import annotations

import errno
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback

from shared_tmu.errors import CheckpointError, TrainingError
from shared_tmu.files import drop_halves, replacing
from shared_tmu.training.stopping import Stop

LAST, BEFORE = "last.ckpt", "before.ckpt"
_UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError)
log = logging.getLogger(__name__)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a temporary file, syncs and renames it; also keeps the previous checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace a checkpoint.

        Raises:
            TrainingError: it cannot be written; the previous one is unchanged.
        """
        path = Path(path)
        try:
            with replacing(path) as beside:
                with beside.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
                if path.exists():
                    path.replace(path.with_name(BEFORE))
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"the checkpoint {path} cannot be written ({_reason(error)}); the previous one is complete. "
                "Free some space and run the same command, which continues from there."
            ) from error


def newest_checkpoint(folder: Path) -> Path | None:
    """The last complete checkpoint of a stage; None if the stage has none yet.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
    """
    there = [folder / name for name in (LAST, BEFORE) if (folder / name).exists()]
    for path in there:
        if is_whole(path):
            return path
        log.warning("%s is damaged and is ignored.", path)
    if there:
        raise CheckpointError(
            f"no checkpoint in {folder} can be read completely ({', '.join(p.name for p in there)}): remove "
            "them, and the stage starts again."
        )
    return None


def recover(folder: Path) -> Path | None:
    """`newest_checkpoint`, renamed to the name of the next one; removes files that killed processes left."""
    drop_halves(folder)
    newest = newest_checkpoint(folder)
    if newest is None or newest.name == LAST:
        return newest
    log.warning("Continuing from %s, the previous checkpoint.", newest)
    return newest.replace(folder / LAST)


def is_whole(path: Path) -> bool:
    """Whether every record of a checkpoint is present and has the right checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.namelist()) and archive.testzip() is None
    except _UNREADABLE:
        return False


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint, read without executing code.

    Raises:
        CheckpointError: it holds something else.
    """
    state = _entry(path, "state_dict")
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds no weights: remove it, and the stage starts again.")
    return state


def read_step(path: Path) -> int:
    """The number of steps after which a checkpoint was written, of all optimisers together.

    Raises:
        CheckpointError: it holds something else.
    """
    return int(_entry(path, "global_step"))


def _entry(path: Path, name: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)[name]
    except Exception as error:  # torch may raise any error for a file that is not ours
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{path} is not a checkpoint of this training ({text[0].rstrip('.')}): remove it, and the stage "
            "starts again."
        ) from error


def check_fits(path: Path, state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Refuse weights with other names or shapes.

    Raises:
        CheckpointError: weights differ; the message names the file and one of them.
    """
    bad = [k for k, v in wanted.items() if k not in state or state[k].shape != v.shape]
    bad += [key for key in state if key not in wanted]
    if bad:
        raise CheckpointError(
            f"{path} belongs to a model of other sizes ({len(bad)} weights differ, such as {bad[0]}): use "
            "the sizes with which it was trained, or another folder with out=."
        )


class Keeper(Callback):
    """Writes `last.ckpt` at regular steps, before each validation, after the last step, and when training is
    asked to stop.

    Args:
        path: path of the checkpoint.
        every: steps between two checkpoints.
        val_every: steps between two validations; None if there are none.
        stop: tells whether training was asked to stop.
    """

    def __init__(self, path: Path, every: int, val_every: int | None, stop: Stop) -> None:
        self.path, self.every, self.val_every, self.stop = path, every, val_every, stop

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace the signal handlers that Lightning has installed, which would not write a checkpoint."""
        self.stop.install()

    def on_train_batch_start(self, *_: object) -> None:
        """Let signals wait for the end of the step from now on."""
        self.stop.waits = True

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Write a checkpoint after the step, if one is due."""
        step = trainer.global_step
        is_asked = self.stop.agreed(trainer)
        is_due = step % self.every == 0 or bool(self.val_every and step % self.val_every == 0)
        is_due = is_due or step == trainer.max_steps
        if is_asked or is_due or trainer.should_stop:
            self.keep(trainer)
        if is_asked:
            log.info("Stopped after step %d; the checkpoint is %s.", step, self.path)
            self.stop.end()

    def on_validation_start(self, *_: object) -> None:
        """Let signals end a validation at any time: the checkpoint was written before it."""
        self.stop.waits = False

    def on_train_end(self, *_: object) -> None:
        """After the last step nothing checks whether to stop, so signals must not wait any more."""
        self.stop.waits = False

    def keep(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint.

        Raises:
            TrainingError: weights have become NaN or infinite; the previous checkpoint is kept.
        """
        bad = [name for name, p in trainer.lightning_module.named_parameters() if not torch.isfinite(p).all()]
        if bad:
            raise TrainingError(
                f"step {trainer.global_step} made {len(bad)} weights NaN or infinite, such as {bad[0]}: no "
                "checkpoint was written, and the previous one is unchanged. Lower lr, or try "
                "precision=32-true."
            )
        trainer.save_checkpoint(self.path, weights_only=False)  # with everything that resuming needs


def _reason(error: Exception) -> str:
    """The file system's reason, also if torch has wrapped the error."""
    for one in (error, error.__cause__, error.__context__):
        if isinstance(one, OSError):
            return one.strerror or str(one)
    text = str(error).splitlines() or [""]
    return os.strerror(errno.ENOSPC) + "?" if "write" in text[0] else text[0]
