"""A toy model whose process is killed; workers import it."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from toy_demo import ToyDemoHand
from toy_hand_model import program_of

WHITE = 2.2
"""Values that all channels of a white pixel exceed after normalising."""


class DyingHand(ToyDemoHand):
    """Kills its process at its third batch, once, if `folder` has a file `die`; and at a white crop."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.batches = 0

    def forward(self, batch):
        self.batches += batch["img"].abs().sum() > 0  # a warm-up is no batch
        if self.batches == 3:
            with suppress(FileNotFoundError):  # another worker was killed
                (self.folder / "die").rename(self.folder / "died")
                os.kill(os.getpid(), signal.SIGKILL)
        if (batch["img"] > WHITE).all(1).float().mean((1, 2)).max() > 0.05:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch)


def dying_program(folder: Path):
    """Its program."""
    folder.mkdir(exist_ok=True)
    return program_of(folder, lambda *paths: DyingHand(folder).eval(), folder / "toy.pt")
