"""Build SynthBody, the bundled procedural person in SMPL-X's file layout. Always the same file.

python scripts/build_synthbody.py                       # rewrites the file that shared_tmu ships
python scripts/build_synthbody.py --out DIR
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from shared_tmu.body_models.smplx_model import SYNTHBODY
from shared_tmu.synth.body.build import build_body
from shared_tmu.synth.build import save_npz


def main() -> None:
    """Build and write the file."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--out", type=Path, default=SYNTHBODY.parent, help="folder for the file")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = args.out / SYNTHBODY.name
    save_npz(path, build_body())
    logging.getLogger(__name__).info("wrote %s, %.2f MB", path.name, path.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
