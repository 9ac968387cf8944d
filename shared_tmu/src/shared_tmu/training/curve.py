"""The curve of a training: one row per validation of each stage, none missing and none twice."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from shared_tmu.files import write_text
from shared_tmu.training.time_limit import Clock

log = logging.getLogger(__name__)


class Curve(Callback):
    """Append every validation to a curve and log it.

    Args:
        path: the CSV file.
        stage: name of the stage that is run.
        batch_size: pictures per step, over all devices.
        clock: of the stage.
    """

    def __init__(self, path: Path, stage: str, batch_size: int, clock: Clock) -> None:
        self.path, self.stage, self.batch_size, self.clock = path, stage, batch_size, clock

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take away the rows of steps that are done again because no checkpoint holds them."""
        if not trainer.is_global_zero:
            return
        rows = read_curve(self.path)
        kept = [row for row in rows if row["stage"] != self.stage or int(row["step"]) <= trainer.global_step]
        if len(kept) < len(rows):
            write_rows(self.path, kept)

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


class Keeper(Callback):
    """Keeps `last.ckpt`: every so many steps, and after each validation instead of before it.

    Args:
        path: of the checkpoint.
        every: steps between two of them.
        val_every: steps between two validations.
    """

    def __init__(self, path: Path, every: int, val_every: int) -> None:
        self.path, self.every, self.val_every = path, every, val_every

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Keep, unless a validation follows, whose row would be missing after going on from here."""
        step = trainer.global_step
        if step % self.every == 0 and step % self.val_every and not trainer.should_stop:
            trainer.save_checkpoint(self.path)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep."""
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)


def read_curve(path: Path) -> list[dict[str, str]]:
    """Rows of a curve, oldest first; nothing if there is none yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Add a row to a CSV file; a column that is new, or that the row lacks, is empty where it is missing."""
    write_rows(path, [*read_curve(path), row])


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV file with all columns that any row has."""
    fields = list(dict.fromkeys(key for one in rows for key in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
