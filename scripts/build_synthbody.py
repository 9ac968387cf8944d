"""Builds SynthBody, the bundled procedural person in SMPL-X's file layout; the result is always the same
file.

python scripts/build_synthbody.py                       # rewrites the bundled file of shared_tmu python
scripts/build_synthbody.py --out DIR
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from shared_tmu.body_models.smplx_model import SYNTHBODY
from shared_tmu.programs.console import run_program
from shared_tmu.synth.body.build import build_body
from shared_tmu.synth.build import save_npz


def main() -> None:
    """Build and write the file."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--out", type=Path, default=SYNTHBODY.parent, help="folder for the file")
    args = parser.parse_args()
    path = args.out / SYNTHBODY.name
    save_npz(path, build_body())
    sys.stdout.write(f"wrote {path.name}, {path.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    sys.exit(run_program(main))
