"""Exports WiLoR as an ONNX file, with token merging inside the graph.

    python export.py --r 10x16 --out wilor_10x16.onnx                       # bundled weights, any batch size
    python export.py --r 10x16 --out wilor_10x16.onnx --batch 8             # for 8 hands at a time
    python export.py --r off --out wilor.onnx --checkpoint wilor_final.ckpt --mano_path MANO_RIGHT.pkl

`shared_tmu.export.OnnxModel` runs the file. It expects right hands: for a left hand, mirror the crop before
and the results after, as `demo.py` does.
"""

import sys
from collections.abc import Sequence

from shared_tmu.export.program import main
from wilor_tmu.tmu.program import PROGRAM


def run(arguments: Sequence[str] | None = None) -> int:
    """Export with the options of the command line; returns the exit status."""
    return main(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(run())
