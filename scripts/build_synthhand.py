"""Builds SynthHand, the bundled procedural right hand in MANO's file layout, and its mean parameters.

The same seed gives the same files.

    python scripts/build_synthhand.py                       # rewrites the bundled file of shared_tmu python
    scripts/build_synthhand.py --out DIR --seed 1
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import shared_tmu
from shared_tmu.programs.console import run_program
from shared_tmu.synth.build import build_hand, mean_parameters, save_npz

ASSETS = Path(shared_tmu.__file__).parent / "assets" / "synthhand"


def main() -> None:
    """Build and write both files."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder for the two files")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the poses from which the pose space is computed"
    )
    args = parser.parse_args()
    path = args.out / "SYNTHHAND_RIGHT.npz"
    hand = build_hand(args.seed)
    save_npz(path, hand)
    save_npz(args.out / "mano_mean_params.npz", mean_parameters(hand["hands_mean"]))
    sys.stdout.write(f"wrote {path.name}, {path.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    sys.exit(run_program(main))
