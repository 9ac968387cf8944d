"""Publish how many frames per second demo.py --video does, from the file to the files, with the detector in
every frame and in every K-th.

    python scripts/measure_video.py --model hamer      # on a machine that does nothing else

The clip is made of one of SynthHand-Clips (drawn on first use): its hand as it is, and mirrored beside it.
MediaPipe finds the hands, overlays are drawn, everything is saved. All settings run in turn, `--rounds`
times; a line of `assets/<model>_video_times.jsonl` has the medians, and the ratio to the first number
of `--every`, round by round.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import update_tables
from bundled import BUNDLED, Bundled

from shared_tmu.datasets.synthhand import open_synthhand_clips
from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.program import main as demo
from shared_tmu.errors import InputError
from shared_tmu.files import write_text
from shared_tmu.pictures.images import read_image
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import choose_device, named_path, positive
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.results import describe_environment, read_records

CLIP = 4
"""The one of SynthHand-Clips in which MediaPipe finds the hand in all frames."""

SIDE_PX = 448
STAGES = ("detect", "model")


def write_clip(path: Path, frames: int) -> None:
    """The first frames of the clip, with the mirrored hand beside it."""
    data = open_synthhand_clips(Path())
    start, stop = data.clip_bounds[CLIP]
    with ClipWriter(path, (2 * SIDE_PX, SIDE_PX)) as writer:
        for number in range(min(frames, stop - start)):
            picture = read_image(data.images[start + number]).bgr
            picture = cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
            writer.write(np.hstack((picture, picture[:, ::-1])), number / data.fps)
        writer.finish(min(frames, stop - start) / data.fps)


def measure(model: Bundled, clip: Path, schedule: str, every: int, device: str) -> dict[str, Any]:
    """The record of one run of the demo.

    Raises:
        InputError: it failed.
    """
    program = import_module(f"{model.package}.tmu.program").PROGRAM
    report = clip.with_suffix(".jsonl")
    report.unlink(missing_ok=True)
    flags = ["--r", schedule, "--video", str(clip), "--detect_every", str(every), "--detector", "mediapipe"]
    places = ["--out_folder", str(clip.parent / "out"), "--report", str(report), "--device", device]
    if demo(program, [*flags, *places]) != 0:
        raise InputError(f"demo.py {' '.join(flags)} failed, see above.")
    record: dict[str, Any] = list(read_records(report))[-1]
    return record


def line_of(records: Sequence[Mapping[str, Any]], firsts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A line of results: medians of the rounds of a setting, and its ratio to `firsts`, round by round."""
    rates, all_rates = ([one["frames"] / one["wall_s"] for one in part] for part in (records, firsts))
    ratios = [mine / first for mine, first in zip(rates, all_rates, strict=True)]
    spent = {f"{stage}_s": float(np.median([one["seconds"][stage] for one in records])) for stage in STAGES}
    counts = {name: records[0][name] for name in ("frames", "hands", "searched")}
    speed = {"frames_per_s": float(np.median(rates)), "ratio": float(np.median(ratios))}
    return {**counts, **speed, "ratio_from": min(ratios), "ratio_to": max(ratios), **spent}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    hands = [name for name, model in BUNDLED.items() if model.subject == "hand"]
    parser.add_argument("--model", choices=hands, required=True, help="which of the bundled models")
    parser.add_argument("--r", default="off,8x16", help="schedules")
    parser.add_argument(
        "--every", default="1,3,5,10", help="numbers of --detect_every; the first is compared with"
    )
    parser.add_argument("--frames", type=positive, default=60, help="length of the clip, at most 81")
    parser.add_argument("--rounds", type=positive, default=2, help="how often each setting runs")
    parser.add_argument("--device", default="cpu", help="as demo.py")
    parser.add_argument("--out", type=named_path, help="file of results; default: the published one")
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    schedules, numbers = given.r.split(","), [int(one) for one in given.every.split(",")]
    settings = [(schedule, every) for schedule in schedules for every in numbers]
    found: dict[tuple[str, int], list[dict[str, Any]]] = {one: [] for one in settings}
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, given.frames)
        for _ in range(given.rounds):
            for setting in settings:
                found[setting].append(measure(model, clip, *setting, given.device))
    where = {
        "checkpoint_sha256": file_sha256(model.checkpoint),
        **describe_environment(choose_device(given.device), model.folder),
    }
    lines = [
        {
            **{"kind": "video_times", "model": model.name, "schedule": schedule, "every": every},
            **{"rounds": given.rounds, **line_of(records, found[schedule, numbers[0]]), **where},
        }
        for (schedule, every), records in found.items()
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_text(given.out or model.lines("video_times"), text)
    return 0 if given.out else update_tables.main([])


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(), "Interrupted."))
