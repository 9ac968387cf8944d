"""The curve of a training run: exactly one row per validation of each stage."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from shared_tmu.errors import InputError
from shared_tmu.files import write_text
from shared_tmu.training.time_limit import Clock

log = logging.getLogger(__name__)


class Curve(Callback):
    """Append every validation to a curve and log it.

    Args:
        path: the CSV file.
        stage: name of the stage.
        batch_size: pictures per step, over all devices.
        val_every: steps between two validations.
        clock: clock of the stage.
    """

    def __init__(self, path: Path, stage: str, batch_size: int, val_every: int, clock: Clock) -> None:
        self.path, self.stage, self.batch_size, self.clock = path, stage, batch_size, clock
        self.val_every = val_every

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the rows of steps that will be repeated, and repeat a validation that was interrupted."""
        if trainer.is_global_zero:
            rows = read_curve(self.path)
            kept = [r for r in rows if r["stage"] != self.stage or int(r["step"]) <= trainer.global_step]
            if len(kept) < len(rows):
                write_rows(self.path, kept)
        is_due = trainer.global_step > 0 and trainer.global_step % self.val_every == 0
        if is_due and trainer.strategy.broadcast(not self.has_row(trainer.global_step)):
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True

    def has_row(self, step: int) -> bool:
        """Whether the stage was validated after a step."""
        rows = read_curve(self.path)
        return any(row["stage"] == self.stage and int(row["step"]) == step for row in rows)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One row per validation."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        row: dict[str, object] = {"stage": self.stage, "step": trainer.global_step}
        row["images"] = trainer.global_step * self.batch_size
        row["seconds"] = round(self.clock.seconds, 1)
        metrics = trainer.callback_metrics
        row.update({k: round(float(v), 4) for k, v in sorted(metrics.items()) if k.startswith("val/")})
        append_row(self.path, row)
        shown = [k for k in row if k in ("stage", "step", "seconds") or "_mm" in k or "px" in k]
        log.info("%s", {k: row[k] for k in shown})


def read_curve(path: Path) -> list[dict[str, str]]:
    """Rows of a curve, oldest first; nothing if there is none yet.

    Raises:
        InputError: it is damaged, or not a curve.
    """
    rows = _read(path)
    try:
        for row in rows:
            _ = row["stage"], int(row["step"]), int(row["images"]), float(row["seconds"])
            _ = [float(value) for name, value in row.items() if name.startswith("val/") and value]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    return rows


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read as a training curve ({error!r}): move it away, and a new one is started."
    )


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Add a row to a CSV file; columns that are new, or that the row lacks, are empty where they are
    missing.
    """
    write_rows(path, [*_read(path), row])


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV file with all columns that any row has."""
    fields = list(dict.fromkeys(key for one in rows for key in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
