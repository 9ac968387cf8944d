"""Meshes of all hands in a folder of pictures, by WiLoR with token merging.

    python demo.py --r 5x20 --img_folder ../assets/samples          # bundled weights; nothing to download
    python demo.py --r off --img_folder DIR --side_view --save_mesh
    python demo.py --img_folder DIR --compare --tokens              # time and difference of merging
    python demo.py --img_folder DIR --boxes boxes.json              # your own hand boxes
    python demo.py --video clip.mp4                                 # overlay video, one .npz
    python demo.py --img_folder DIR --checkpoint wilor_final.ckpt --mano_path MANO_RIGHT.pkl

Results in `--out_folder`, for an image `street.jpg` with hands 0, 1, ...:

    street_0.png          the hand, its mesh over it, and from the side (--side_view)
    street_0.obj, .glb    its mesh in metres (--save_mesh)
    street_0_tokens.png   which tokens merged, block by block (--tokens)
    street_0_compare.png  baseline, merge-only and TMU with their times (--compare)
    street_all.jpg        all meshes over the image
    street.npz, .json     all parameters; the .json explains each of them

Two images that differ only in the suffix (a.jpg, a.png) become a_jpg_... and a_png_.... Each file is written
in one step: a run that is stopped, even by kill -9, leaves only complete files, and the same command with
--resume gives the same files, byte for byte, as an uninterrupted run. The exit status is 0 only if every
image was processed.
"""

import sys
from collections.abc import Sequence

from shared_tmu.demo import main
from wilor_tmu.tmu.program import PROGRAM


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the demo with the options of the command line; returns the exit status."""
    return main(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(run())
