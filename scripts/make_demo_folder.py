"""Makes a folder of photograph-like pictures with several SynthHand hands each, and a boxes file, as input
for demo.py.

Run it as:

    python scripts/make_demo_folder.py --out data/demo_folder --count 200

It writes 0000.jpg, 0001.jpg, ... and boxes.json, which demo.py reads with --boxes. The same arguments give
the same bytes; a second run makes only missing files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from shared_tmu.files import replacing, write_text
from shared_tmu.programs.console import run_program
from shared_tmu.synth.background import background
from shared_tmu.synth.generator import draw
from shared_tmu.synth.scene import Difficulty, sample_scene

SEED = 2_000_003  # used neither in training nor in evaluation
SIZES_PX = ((1600, 1200), (1200, 1600), (1920, 1080), (1280, 960))
CELL_PX = 400
"""Side of the cells into which pictures are divided; a cell holds at most one hand."""

MAX_HANDS = 5
JPEG_QUALITY = 92
PLAIN = Difficulty(180.0, clutter=0.0, degrade=0.3)


def compose(seed: int, index: int) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """One picture of a sequence: a background with 1 to 5 hands, right and left.

    Args:
        seed: selects the sequence.
        index: number of the picture in it; the same arguments give the same picture.

    Returns:
        BGR `[H, W, 3]`, and the entries of the boxes file.
    """
    rng = np.random.default_rng([seed, index])
    width, height = SIZES_PX[rng.integers(len(SIZES_PX))]
    linear = background(rng, height, width, clutter=0.8)
    canvas = (255.0 * np.clip(linear[..., ::-1], 0, 1) ** (1 / 2.2)).astype(np.float32)
    columns, rows = width // CELL_PX, height // CELL_PX
    count = int(rng.integers(1, MAX_HANDS + 1))
    entries = []
    for hand, cell in enumerate(rng.permutation(columns * rows)[:count]):
        row, column = divmod(int(cell), columns)
        corner = (column * width // columns, row * height // rows)
        is_right = bool(rng.random() < 0.5)
        side = int(rng.integers(CELL_PX // 2, CELL_PX + 1))
        entries.append(_paste(canvas, corner, side, (seed, index * MAX_HANDS + hand), is_right))
    grain = rng.normal(0.0, 2.0, canvas.shape).astype(np.float32)
    return np.clip(np.rint(canvas + grain), 0, 255).astype(np.uint8), entries


def _paste(
    canvas: NDArray[np.float32], corner: tuple[int, int], side: int, scene: tuple[int, int], is_right: bool
) -> dict[str, Any]:
    """Draw a hand into the square of `side` pixels at `corner` (x, y); returns its entry for the boxes
    file.
    """
    picture = draw(sample_scene(*scene, PLAIN), side, side, side / 256)
    shown, on_hand = picture.image[..., ::-1], picture.part > 0
    if not is_right:
        shown, on_hand = shown[:, ::-1], on_hand[:, ::-1]
    alpha = cv2.GaussianBlur(on_hand.astype(np.float32), (0, 0), 0.8)[..., None]
    x0, y0 = corner
    under = canvas[y0 : y0 + side, x0 : x0 + side]
    under += alpha * (shown - under)
    v, u = np.nonzero(on_hand)
    box = [x0 + int(u.min()), y0 + int(v.min()), x0 + int(u.max()), y0 + int(v.max())]
    return {"box_xyxy": box, "is_right": is_right}


def _write(task: tuple[Path, int, int]) -> tuple[str, list[dict[str, Any]]]:
    folder, seed, index = task
    path = folder / f"{index:04d}.jpg"
    image, entries = compose(seed, index)
    with replacing(path) as beside:
        if not cv2.imwrite(str(beside), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(f"OpenCV cannot write {path}.")
    return path.name, entries


def _done(tasks: list[tuple[Path, int, int]], processes: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    if processes == 1:
        yield from map(_write, tasks)
        return
    with get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_write, tasks)


def make_folder(folder: Path, count: int, seed: int = SEED, processes: int = 1) -> Path:
    """Make the missing pictures; the boxes file names all existing pictures, and is written last.

    Args:
        folder: folder, created if needed.
        count: number of pictures.
        seed: selects the sequence.
        processes: number of drawing processes.

    Returns:
        The boxes file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, recipe = folder / "boxes.json", folder / ".recipe.json"
    asked = {"seed": seed, "version": 1}
    known: dict[str, Any] = {}
    if path.is_file() and recipe.is_file() and json.loads(recipe.read_text()) == asked:
        known = json.loads(path.read_text())
    wanted = [f"{index:04d}.jpg" for index in range(count)]
    tasks = [
        (folder, seed, index)
        for index, name in enumerate(wanted)
        if name not in known or not (folder / name).is_file()
    ]
    write_text(recipe, json.dumps(asked))
    try:
        for name, entries in tqdm(_done(tasks, processes), total=len(tasks), unit="img", disable=not tasks):
            known[name] = entries
    finally:  # an interrupted run keeps its finished pictures
        write_text(path, json.dumps({name: known[name] for name in sorted(known)}, indent=1) + "\n")
    return path


def main() -> None:
    """Make the folder with the options of the command line."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--out", type=Path, default=Path("data/demo_folder"), help="folder to write to")
    parser.add_argument("--count", type=int, default=200, help="number of pictures")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the sequence of pictures")
    parser.add_argument("--processes", type=int, default=1, help="number of drawing processes")
    args = parser.parse_args()
    if args.count < 1 or args.processes < 1:
        parser.error("--count and --processes must be at least 1")
    boxes = make_folder(args.out, args.count, args.seed, args.processes)
    pictures = json.loads(boxes.read_text())
    hands = sum(len(entries) for entries in pictures.values())
    sys.stdout.write(f"{len(pictures)} pictures with {hands} hands and {boxes.name} are in {args.out}\n")


if __name__ == "__main__":
    sys.exit(run_program(main))
