"""Publish how steady boxes and meshes are when the detector runs on every K-th frame only.

    python scripts/measure_following.py --model hamer                       # SynthHand-Clips: truth is known
    python scripts/measure_following.py --model hamer --videos a.mp4 b.mp4  # any clips: jitter alone

Each clip is followed as in demo.py with each number of `--every`, at each schedule of `--r`. On
SynthHand-Clips the detector's boxes are those of the set (around the true hand, with noise), and boxes are
compared with those without noise; on a video MediaPipe runs, once per frame for all numbers of `--every`.
Writes lines of `assets/<model>_following.jsonl`, one per set or video, schedule and number, in place of older
ones, and fills the tables of the READMEs.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import update_tables
from bundled import BUNDLED, Bundled
from numpy.typing import NDArray

from shared_tmu.datasets.synthhand import open_synthhand_clips
from shared_tmu.demo.batching import Batch, Batcher, Job
from shared_tmu.demo.clip_flags import ClipChoice
from shared_tmu.demo.clips import Clip, ClipReader
from shared_tmu.demo.cutting import Cutter
from shared_tmu.demo.holding import PlanHolder
from shared_tmu.demo.options import DemoOptions, parse_options
from shared_tmu.demo.predict import Predictor
from shared_tmu.demo.read_ahead import Loaded
from shared_tmu.demo.searching import load_for
from shared_tmu.demo.tracks.choice import choose_follower
from shared_tmu.demo.tracks.jitter import Jitter
from shared_tmu.detect import Detection, Detector, HandBox
from shared_tmu.detect.base import shared_part
from shared_tmu.files import write_text
from shared_tmu.pictures.images import read_image
from shared_tmu.pictures.listing import Source
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import named_path
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.results import describe_environment, read_records
from shared_tmu.programs.tables import ImageCamera
from shared_tmu.synth.clip_set import CLIPS, CLIPS_SEED, FRAMES
from shared_tmu.synth.clips import CROP, sample_clip

log = logging.getLogger(__name__)
Numbers = NDArray[np.floating[Any]]
IDENTITY = ("model", "clip", "schedule", "every")


@dataclass(frozen=True)
class Footage:
    """The frames of a clip and what is known of them.

    Attributes:
        name: of the clip.
        frames: its pictures, in order.
        times_s: when each is shown; complete when all were read.
        find: the detector's boxes of a frame.
        boxes: true boxes without noise, `[T, 4]` pixels; None if unknown.
        joints_m: true joints, `[T, 21, 3]`; None if unknown.
    """

    name: str
    frames: Callable[[], Iterator[Loaded]]
    times_s: list[float]
    find: Callable[[Loaded], Detection[Any] | None]
    boxes: Numbers | None = None
    joints_m: Numbers | None = None


@dataclass
class Counts:
    """What was seen of a clip, or of several.

    Attributes:
        frames, searched: frames in all, and those on which the detector ran.
        shake: of all tracks.
        tracks: number of tracks.
        shared: of every box, the part that it shares with the true one.
        errors_mm: of every frame, the mean error of joints relative to the wrist.
    """

    frames: int = 0
    searched: int = 0
    shake: Jitter = field(default_factory=Jitter)
    tracks: int = 0
    shared: list[float] = field(default_factory=list)
    errors_mm: list[float] = field(default_factory=list)

    def line(self) -> dict[str, Any]:
        """For a line of results."""
        found: dict[str, Any] = {"frames": self.frames, "searched": self.searched, "tracks": self.tracks}
        found |= {"joints_m_s2": self.shake.joints.to_dict()["m_per_s2"]}
        found |= {"camera_m_s2": self.shake.camera.to_dict()["m_per_s2"]}
        if self.shared:
            found |= {"iou": float(np.mean(self.shared)), "iou_lowest": min(self.shared)}
            found |= {"mpjpe_mm": float(np.mean(self.errors_mm))}
        return found


class Run:
    """The model at one schedule."""

    def __init__(self, model: Bundled, schedule: str) -> None:
        program = import_module(f"{model.package}.tmu.program").PROGRAM
        asked = parse_options(program, ["--r", schedule, "--video", "clip.mp4", "--device", "cpu"])
        self.options: DemoOptions
        network, self.options = load_for(program, asked)
        self.predictor = Predictor(
            program, network, self.options.run, self.options.device, self.options.dtype
        )
        self.subject = self.predictor.subject

    def follow(self, clip: Footage, every: int, number: int, counts: Counts) -> None:
        """Follow a clip; adds to `counts`, where `number` names the clip."""
        searched, newest, tracks = set(), [], set()
        holder = PlanHolder() if self.options.holds_plans else None

        def find(loaded: Loaded) -> Detection[Any] | None:
            searched.add(loaded.source.key)
            return clip.find(loaded)

        source: Any = SimpleNamespace(clock=clip.times_s.__getitem__, is_live=False, pixels=1)
        detector: Any = SimpleNamespace(name="any")
        choice = ClipChoice(track=True, detect_every=every)
        follower = choose_follower(choice, source, detector, find, lambda: newest[-1], self._outline)

        def take(loaded: Loaded, detection: Detection[Any]) -> None:
            job = self._predicted(loaded, detection, holder)
            newest[:] = [job]
            self._count(job, clip, number, counts)
            tracks.update(box.track for box in job.detection.boxes)

        for loaded in clip.frames():
            counts.frames += 1
            for found in follower.take(loaded):
                take(*found)
        for found in follower.finish():
            take(*found)
        counts.searched += len(searched)
        counts.tracks += len(tracks)

    def _predicted(self, loaded: Loaded, detection: Detection[Any], holder: PlanHolder | None) -> Job:
        options, batcher = self.options, Batcher(1000)
        assert loaded.picture is not None
        assert options.rescale_factor is not None
        cutter = Cutter(self.subject, options.rescale_factor, self.predictor.input_size, options.run.masks)
        job = cutter.cut(loaded.source, "", loaded.picture, detection)
        for batch in (*(batcher.add(job) if job.crops else ()), *batcher.finish()):
            assert isinstance(batch, Batch)
            held = None if holder is None else holder.of(batch)
            masks = [None if mask is None else mask.mask for mask in batch.masks]
            list(batch.completed(self.predictor.predict(batch.images, masks, held=held)))
        return job

    def _record(self, job: Job, index: int) -> Any:
        camera = ImageCamera.of_image(*job.size_px, self.options.focal_px)
        output, box, crop = job.predictions[index].output, job.detection.boxes[index], job.crops[index]
        return self.subject.record(output, box, crop, camera), camera

    def _outline(self, job: Job, index: int) -> NDArray[np.float64]:
        record, camera = self._record(job, index)
        return camera.project(record.vertices_camera_m)

    def _count(self, job: Job, clip: Footage, number: int, counts: Counts) -> None:
        frame = int(job.source.key)
        for index, box in enumerate(job.detection.boxes):
            record, _ = self._record(job, index)
            time_s = clip.times_s[frame]
            track = 1000 * number + box.track
            joints, translation = record.values["joints_3d_m"], record.values["translation_m"]
            counts.shake.add(track, frame, time_s, joints, translation)
            if clip.boxes is not None and clip.joints_m is not None:
                counts.shared.append(shared_part(box.box_xyxy, clip.boxes[frame]))
                counts.errors_mm.append(_error_mm(joints, clip.joints_m[frame]))


def _error_mm(joints_m: Numbers, true_m: Numbers) -> float:
    gap = (joints_m - joints_m[:1]) - (true_m - true_m[:1])
    return 1000 * float(np.linalg.norm(gap, axis=-1).mean())


def synthetic() -> Iterator[Footage]:
    """SynthHand-Clips."""
    data = open_synthhand_clips(Path())
    assert data.boxes_xyxy is not None
    for number, (start, stop) in enumerate(data.clip_bounds):
        noisy = _tight(data.boxes_xyxy[start:stop])
        exact = _tight(sample_clip(CLIPS_SEED, number, FRAMES).boxes(noise=0.0))
        paths = data.images[start:stop]

        def frames(paths: Sequence[Path] = paths) -> Iterator[Loaded]:
            for frame, path in enumerate(paths):
                yield Loaded(Source(path, path.name, str(frame)), picture=read_image(path))

        def find(loaded: Loaded, boxes: Numbers = noisy) -> Detection[Any]:
            x1, y1, x2, y2 = boxes[int(loaded.source.key)].tolist()
            return Detection((HandBox((x1, y1, x2, y2), True),))

        times_s = [frame / data.fps for frame in range(stop - start)]
        yield Footage(f"clip{number:02d}", frames, times_s, find, exact, data.xyz_m[start:stop])


def _tight(crops: Numbers) -> Numbers:
    """The boxes around the hands of crops that are `CROP` times as large."""
    corners = crops.reshape(-1, 2, 2)
    middle = corners.mean(1, keepdims=True)
    return (middle + (corners - middle) / CROP).reshape(-1, 4)


def filmed(path: Path, detector: Detector) -> Footage:
    """A video file."""
    times_s: list[float] = []
    known: dict[str, Detection[Any]] = {}

    def frames() -> Iterator[Loaded]:
        reader = ClipReader(Clip.open(path))
        for loaded in reader:
            times_s[:] = reader.times_s
            yield loaded

    def find(loaded: Loaded) -> Detection[Any]:
        key = loaded.source.key
        if key not in known:
            assert loaded.picture is not None
            known[key] = detector.detect(loaded.picture.bgr, loaded.source.name)
        return known[key]

    return Footage(path.name, frames, times_s, find)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    parser.add_argument(
        "--videos", type=named_path, nargs="+", default=(), help="clips; default: SynthHand-Clips"
    )
    parser.add_argument("--every", default="1,3,5,10", help="numbers of --detect_every")
    parser.add_argument("--r", default="off,8x16", help="schedules")
    parser.add_argument("--clips", type=int, default=CLIPS, help="how many of SynthHand-Clips")
    parser.add_argument("--out", type=named_path, help="file of results; default: the published one")
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    out = given.out or model.lines("following")
    runs = {schedule: Run(model, schedule) for schedule in given.r.split(",")}
    sets = _sets(given, next(iter(runs.values())))
    for name, clips in sets.items():
        for every in map(int, given.every.split(",")):
            for schedule, run in runs.items():
                counts = Counts()
                for number, clip in enumerate(clips):
                    run.follow(clip, every, number, counts)
                about = {"model": model.name, "clip": name, "schedule": schedule, "every": every}
                weights = {"checkpoint_sha256": file_sha256(model.checkpoint)}
                line = {"kind": "following", **about, **weights, **counts.line()}
                _publish(out, {**line, **describe_environment(run.options.device, model.folder)})
                log.warning("%s", {**about, **counts.line()})
    return 0 if given.out else update_tables.main([])


def _sets(given: argparse.Namespace, run: Run) -> dict[str, list[Footage]]:
    """What is measured, by name."""
    if not given.videos:
        return {"SynthHand-Clips": list(synthetic())[: given.clips]}
    options = replace(run.options, detector="mediapipe")
    detector = run.subject.make_detector("mediapipe", options, "cpu")
    return {path.name: [filmed(path, detector)] for path in given.videos}


def _publish(path: Path, line: dict[str, Any]) -> None:
    """Write a line, in place of an older one of the same measurement."""
    lines = list(read_records(path)) if path.is_file() else []
    kept = [one for one in lines if any(one[name] != line[name] for name in IDENTITY)]
    write_text(path, "".join(json.dumps(one) + "\n" for one in [*kept, line]))


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(), "Interrupted."))
