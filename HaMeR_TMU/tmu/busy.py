"""The demo at the published sizes with random weights: measures without a checkpoint what share of the time
the model is busy.

Run it in HaMeR_TMU; it takes the flags of demo.py. Its pictures have no meaning, only its times have:

    python ../scripts/make_demo_folder.py --out ../data/demo_folder --count 200
    python -m hamer_tmu.tmu.busy --img_folder ../data/demo_folder --boxes ../data/demo_folder/boxes.json

The line "model busy" of the closing table, `model_busy` in the report, is the share of the wall time during
which a forward pass was running.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from hamer_tmu.tmu.program import PROGRAM
from shared_tmu.demo import main
from shared_tmu.errors import InputError

SIZE = "vit-h"


def load_random(
    checkpoint: Path | None, mano_path: Path | None, config_path: Path | None = None
) -> nn.Module:
    """HaMeR at its published sizes with random weights and the bundled hand; accepts no files.

    Raises:
        InputError: a file was given; use demo.py for it.
    """
    if any(path is not None for path in (checkpoint, mano_path, config_path)):
        raise InputError("tmu.busy accepts no --checkpoint, --config or --mano_path: use demo.py for them.")
    return PROGRAM.sizes[SIZE]()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the demo with random weights; returns the exit status."""
    name, weights = "HaMeR with random weights", PROGRAM.folder / "random"
    return main(replace(PROGRAM, name=name, load_model=load_random, default_checkpoint=weights), arguments)


if __name__ == "__main__":
    sys.exit(run())
