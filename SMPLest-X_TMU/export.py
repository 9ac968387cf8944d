"""Exports SMPLest-X as an ONNX file, with token merging inside the graph.

    python export.py --r 10x16 --out smplest_x_10x16.onnx             # bundled weights, any batch size
    python export.py --r 10x16 --out smplest_x_10x16.onnx --batch 8   # for 8 people at a time
    python export.py --r off --out smplest_x.onnx --checkpoint smplest_x_h.pth.tar \\
        --smplx_path SMPLX_NEUTRAL.npz

`shared_tmu.export.OnnxModel` runs the file. Its input is that of the encoder, [B, 3, 256, 192] in 0..1: every
second row and column of the published 512 x 384 crop.
"""

import sys
from collections.abc import Sequence

from shared_tmu.export.program import main
from smplest_x_tmu.tmu.program import PROGRAM


def run(arguments: Sequence[str] | None = None) -> int:
    """Export with the options of the command line; returns the exit status."""
    return main(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(run())
