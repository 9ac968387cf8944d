"""Where the tokens of photographs go, and how similar the layers of the unmerged model are.

    python scripts/draw_tokens.py --r 16x12 --method tome,pitome          # the real ViT-S
    python scripts/draw_tokens.py --model vit_base_patch16_224 --pretrained --pictures FOLDER --r 13x12

It writes tokens.jpg, the groups after some blocks: patches that have merged are filled with their mean colour
and outlined; for every photograph and method an animation over all blocks, NAME-METHOD.webp (--animation .gif
for GIF); and similarity.png, the linear CKA between the tokens after each two blocks, over all photographs.
For models of meshes: demo.py --tokens, and measure_cka.py.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from saliency_sheet import find_photographs
from torch import nn

import shared_tmu
from shared_tmu.classification.choosing import add_model_flags, read_choice
from shared_tmu.classification.contact_sheet import SheetTile, draw_sheet
from shared_tmu.classification.crops import Crop
from shared_tmu.errors import InputError, TMUError
from shared_tmu.files import printable, replacing
from shared_tmu.layers import collect_features, linear_cka
from shared_tmu.methods import find_method
from shared_tmu.patching.grid import find_grid
from shared_tmu.pictures.images import read_image
from shared_tmu.pictures.listing import result_keys
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import METHOD_HELP, named_path, positive, split_list
from shared_tmu.programs.results import require_writable
from shared_tmu.schedule import Schedule
from shared_tmu.viz import draw_depth, draw_similarity, save_animation
from shared_tmu.viz.depth import FORMATS

SIDE_PX = 448
"""Longest side of the pictures that are drawn on: outlines are crisp also where patches are small."""
TOKENS, BATCH = 8192, 16
"""Tokens on which layers are compared at most, and photographs in a call."""
Frame = NDArray[np.uint8]
_log = logging.getLogger("shared_tmu.draw_tokens")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw; 0 if every picture was."""
    given = make_parser().parse_args(arguments)
    return run_program(lambda: _draw(given))


def _draw(given: argparse.Namespace) -> int:
    schedule = Schedule.parse(given.r)
    if schedule.is_off:
        raise InputError("--r off merges nothing: name a schedule that merges.")
    methods = [find_method(name).name for name in split_list("--method", given.method)]
    require_writable(given.out / "tokens.jpg")
    paths, problems = find_photographs(given.pictures)
    vit, crop = read_choice(given).load_vit()
    rows, seen = [], []
    root = given.pictures or paths[0].parent
    names = [path.relative_to(root).as_posix() for path in paths]
    for path, name, key in list(zip(paths, names, result_keys(names), strict=True))[: given.limit]:
        try:
            rgb = np.ascontiguousarray(read_image(path).bgr[:, :, ::-1])
        except InputError as error:
            problems.append(str(error))
            continue
        seen.append(crop.cut(rgb))
        for method in methods:
            try:
                image, frames, counts = frames_of(vit, crop, rgb, schedule, method)
            except TMUError as error:
                problems.append(f"{printable(name)} with {method}: {error}")
                continue
            save_animation(given.out / f"{key}-{method.replace(':', '_')}{given.animation}", frames)
            rows.append(row_of(printable(name), method, image, frames, counts, given.stages))
    if rows:
        from PIL import Image

        with replacing(given.out / "tokens.jpg") as beside:
            Image.fromarray(draw_sheet(rows, max(tile.rgb.shape[1] for row in rows for tile in row))).save(
                beside, "JPEG", quality=92
            )
        sys.stdout.write(f"{len(rows)} rows: {given.out / 'tokens.jpg'}\n")
    if seen:
        sys.stdout.write(f"{save_similarity(given.out / 'similarity.png', vit, torch.stack(seen))}\n")
    for problem in dict.fromkeys(problems):
        _log.error("Not drawn: %s", problem)
    return 1 if problems else 0


@torch.inference_mode()
def frames_of(
    vit: nn.Module, crop: Crop, rgb: Frame, schedule: Schedule, method: str
) -> tuple[Frame, list[Frame], list[int]]:
    """The part of a picture that a model sees, its groups after every block, and tokens after every block.

    Raises:
        TMUError: the model cannot be patched, or has no grid, or the method has no groups.
    """
    img = crop.cut(rgb)[None]
    scale = max(1, SIDE_PX // max(crop.size))
    sharp = replace(crop, size=(scale * crop.size[0], scale * crop.size[1]), mean=(0.0,) * 3, std=(1.0,) * 3)
    image = np.ascontiguousarray((255 * sharp.cut(rgb)).round().byte().permute(1, 2, 0).numpy())
    depth, grid = len(blocks_of(vit)), find_grid(vit)
    if grid is None:
        raise InputError(f"{type(vit).__name__} does not say its grid of patches: use another ViT.")
    with shared_tmu.patch(vit, schedule, method, record=True) as handle:
        vit(img)
        plans, prefix = handle.plans_by_block, handle.num_prefix_tokens
    frames = draw_depth(image, plans, depth, grid)
    counts, count = [], grid[0] * grid[1] + prefix
    for block in range(depth):
        plan = plans.get(block)
        count = count if plan is None else int(plan.num_slots)
        counts.append(count)
    return image, frames, counts


def save_similarity(path: Path, vit: nn.Module, img: torch.Tensor) -> str:
    """Draw how similar the layers are on pictures `[B, 3, h, w]`; the file, and what it shows.

    Raises:
        InputError: the model does not say its blocks.
    """
    blocks = list(blocks_of(vit))
    run = lambda: [vit(part) for part in img.split(BATCH)]  # noqa: E731
    features = collect_features(blocks, run, len(img), TOKENS)
    matrix = linear_cka(features)
    drawn = draw_similarity(matrix, title=f"linear CKA, {features[0].shape[0]:,} tokens")
    from PIL import Image

    with replacing(path) as beside:
        Image.fromarray(drawn).save(beside, "PNG")
    neighbours = matrix.diagonal(1)
    least = f"; neighbours: {neighbours.min():.3f} to {neighbours.max():.3f}" if len(blocks) > 1 else ""
    return f"{len(blocks)} layers{least}: {path}"


def blocks_of(vit: nn.Module) -> Any:
    """The blocks of a ViT.

    Raises:
        InputError: it does not say them.
    """
    blocks: Any = getattr(vit, "blocks", None)
    if blocks is None:
        raise InputError(f"{type(vit).__name__} does not say its blocks: use another ViT.")
    return blocks


def row_of(
    name: str, method: str, image: Frame, frames: Sequence[Frame], counts: Sequence[int], stages: int
) -> list[SheetTile]:
    """The picture, then its groups after some of the blocks, evenly spaced, the last one included."""
    shown = min(stages, len(frames))
    chosen = [round((k + 1) * len(frames) / shown) - 1 for k in range(shown)]
    tiles = [SheetTile(frames[k], f"after block {k + 1}\n{counts[k]} tokens") for k in chosen]
    return [SheetTile(image, f"{name}\n{method}"), *tiles]


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_model_flags(parser)
    add("--pictures", type=named_path, metavar="FOLDER", help="photographs; default: scikit-image's")
    add("--r", default="16x12", help="schedule; default: 16x12")
    add("--method", default="tome", help=f"comma-separated list of {METHOD_HELP}; default: tome")
    add("--stages", type=positive, default=4, help="blocks that the sheet shows; default: 4")
    add("--animation", choices=sorted(FORMATS), default=".webp", help="default: .webp")
    add("--limit", type=positive, help="the first N photographs only")
    add("--out", type=named_path, default=Path("results/tokens"), help="default: results/tokens")
    return parser


if __name__ == "__main__":
    sys.exit(main())
