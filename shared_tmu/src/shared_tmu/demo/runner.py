"""The demo: read, find hands, crop, predict in batches, draw, save; every stage on its own.

`main` is what a model folder's `demo.py` calls; `run_demo` is the same for Python.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from shared_tmu.crops import hand_crop
from shared_tmu.demo.batching import Batcher, Job
from shared_tmu.demo.compare import Comparer
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.options import DemoOptions, parse_options
from shared_tmu.demo.predict import Predictor
from shared_tmu.demo.progress import progress
from shared_tmu.demo.report import Report, format_table
from shared_tmu.demo.saving import ImageFiles
from shared_tmu.demo.sources import Loaded, Source, list_images, read_ahead
from shared_tmu.detect import Detector, choose_detector, make_detector
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.errors import InputError, TMUError
from shared_tmu.evaluation.identity import digest_of, file_sha256, weights_sha256
from shared_tmu.evaluation.program import EvalProgram

_log = logging.getLogger(__name__)


def main(program: EvalProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 only if every image was processed."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("shared_tmu").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module="PIL")  # what matters about a file is said in its own message
    try:
        return run_demo(program, parse_options(program, arguments))
    except TMUError as error:
        _log.error("%s: %s", type(error).__name__, error)
        return 1
    except KeyboardInterrupt:
        _log.error(
            "Interrupted. What was finished is complete; the same command with --resume goes on from here."
        )
        return 130


def run_demo(program: EvalProgram, options: DemoOptions) -> int:
    """Process a folder of images; what fails is reported at the end and does not stop the rest.

    Returns:
        Exit status: 1 if anything failed.

    Raises:
        TMUError: before any work, if there are no images, the output folder cannot be written to, or the
            model or the detector cannot be made; later, if the output folder cannot be written to any more.
    """
    _require_apart(options)
    inside = _inside(options.out_folder, options.img_folder)
    sources = list_images(options.img_folder, options.file_type, inside)
    detector_name = _detector_name(options)
    with OutputFolder(options.out_folder, "") as folder:
        detector = make_detector(
            detector_name, options.detector_dir, options.boxes, options.body_detector, str(options.device)
        )
        model = program.load_model(options.checkpoint, options.mano_path).eval()
        options.run.patched(program, model).remove()  # a schedule that does not fit says so before any work
        folder.options = _options_digest(options, detector_name, model)
        _warn_of_unused_boxes(detector, sources)
        session = _Session(program, options, model, detector, folder)
        return session.process(sources)


class _Session:
    """Everything a run needs, and its totals."""

    def __init__(
        self,
        program: EvalProgram,
        options: DemoOptions,
        model: nn.Module,
        detector: Detector,
        folder: OutputFolder,
    ) -> None:
        self.options, self.detector, self.folder = options, detector, folder
        self.faces = np.asarray(getattr(model, "mano").faces).astype(np.int64)  # noqa: B009
        self.predictor = Predictor(
            program, model, options.run, options.device, options.dtype, record=options.tokens
        )
        self.comparer = Comparer(self.predictor) if options.compare else None
        self.facts = {"format": "tmu-demo-1", "model": program.name, **_facts(options, detector.name)}
        self.report = Report()
        self.batcher = Batcher(options.batch_size, (self.comparer or self.predictor).predict)

    def process(self, sources: Sequence[Source]) -> int:
        """Process all images, close with the table, return the exit status."""
        if earlier := self.folder.count_notes():
            what = (
                "those made with the same options are kept"
                if self.options.resume
                else "they are replaced as this run gets to them (--resume keeps them)"
            )
            _log.info("%s holds results of %d images: %s.", self.folder.folder, earlier, what)
        self.predictor.warm_up(self.options.batch_size)
        with progress(len(sources)) as bar:
            for loaded in read_ahead(sources, self._is_finished):
                self._take(loaded, bar)
            self._save(self.batcher.finish(), bar)
        return self._close(len(sources))

    def _is_finished(self, source: Source, digest: str) -> bool:
        return self.options.resume and self.folder.finished(source.key, digest) is not None

    def _take(self, loaded: Loaded, bar: Any) -> None:
        """One image as it comes from the reader."""
        self.report.seconds["read"] += loaded.read_s
        name = loaded.source.name
        note = self.folder.finished(loaded.source.key, loaded.digest) if loaded.is_finished else None
        if note is not None:
            self.report.kept += 1
            self._fail(name, note.problems)
            bar.update()
            self._save(self.batcher.add_finished(note.hands, note.pixels), bar)
            return
        if loaded.picture is None:
            self._fail(name, (loaded.problem,))
            bar.update()
            return
        if loaded.picture.note:
            _log.info("%s: %s.", name, loaded.picture.note)
        try:
            job = self._prepare(loaded)
        except InputError as error:
            self._fail(name, (str(error),))
            bar.update()
            return
        width, height = loaded.picture.size_px
        self._save(self.batcher.add(job, width * height), bar)

    def _prepare(self, loaded: Loaded) -> Job:
        """Find hands and cut them out."""
        assert loaded.picture is not None
        image, name = loaded.picture.bgr, loaded.source.name
        with self.report.timed("detect"):
            detection = self.detector.detect(image, name)
        self._fail(name, detection.problems)
        if not detection.hands:
            width, height = loaded.picture.size_px
            self.report.without_hands += 1
            _log.info("%s: no hands found (%d x %d pixels, %s).", name, width, height, self.detector.name)
        with self.report.timed("crop"):
            crops = [
                hand_crop(
                    image,
                    hand.box_xyxy,
                    hand.is_right,
                    self.options.rescale_factor,
                    self.predictor.image_size_px,
                )
                for hand in detection.hands
            ]
        return Job(loaded, detection, crops)

    def _save(self, jobs: Iterable[Job], bar: Any) -> None:
        """Draw and save images whose hands are predicted."""
        for job in jobs:
            source = job.loaded.source
            try:
                with self.report.timed("draw"):
                    drawing = ImageFiles(job, self.options, self.faces, self.facts, self._grid())
                    files = drawing.all_files()
                    if self.comparer is not None:
                        files |= self.comparer.files(drawing)
            except InputError as error:
                self._fail(source.name, (str(error),))
                bar.update()
                continue
            assert job.loaded.picture is not None
            width, height = job.loaded.picture.size_px
            with self.report.timed("save"):
                self.folder.commit(
                    source.key,
                    job.loaded.digest,
                    files,
                    len(job.crops),
                    width * height,
                    job.detection.problems,
                )
            self.report.images += 1
            self.report.hands += len(job.crops)
            bar.set_postfix_str(f"{self.report.hands} hands")
            bar.update()

    def _fail(self, name: str, problems: Iterable[str]) -> None:
        for problem in problems:
            message = problem if name in problem else f"{name}: {problem}"
            self.report.failures.append(message)
            _log.error("%s", message)

    def _grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        config = getattr(self.predictor.model, "config", None)
        grid = getattr(getattr(config, "backbone", None), "grid", (16, 12))
        return int(grid[0]), int(grid[1])

    def _close(self, count: int) -> int:
        """The closing table and lines; the exit status."""
        report, predictor = self.report, self.predictor
        report.seconds["model"] = predictor.seconds
        rows, columns = self._grid()
        depth = len(getattr(predictor.model, "backbone").blocks)  # noqa: B009
        tokens = self.options.run.schedule.token_counts(depth, rows * columns)
        lines = [format_table(report.rows(predictor.crops, predictor.seconds, (tokens[0], tokens[-1])))]
        if self.comparer is not None and self.comparer.timings:
            lines += ["", format_table(self.comparer.table())]
        if report.failures:
            count_text = "1 problem" if len(report.failures) == 1 else f"{len(report.failures)} problems"
            lines += ["", f"{count_text}, everything else was processed:"]
            lines += [f"  {failure}" for failure in report.failures]
        done = report.images + report.kept
        what = "Overlays and meshes" if self.options.save_mesh else "Overlays"
        lines += ["", f"{what} of {done} of {count} images are in {self.folder.folder.resolve()}"]
        _write("\n".join(lines) + "\n")
        return 1 if report.failures else 0


def _inside(folder: Path, outer: Path) -> Path | None:
    """`folder` as a path that begins with `outer`, None if it is not inside."""
    resolved, root = folder.resolve(), outer.resolve()
    return outer / resolved.relative_to(root) if resolved.is_relative_to(root) else None


def _write(text: str) -> None:
    """To stdout, also names that its encoding does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def _require_apart(options: DemoOptions) -> None:
    folder = options.img_folder if options.img_folder.is_dir() else options.img_folder.parent
    if options.out_folder.exists() and options.out_folder.resolve() == folder.resolve():
        raise InputError(
            f"--out_folder {options.out_folder} is the folder of the images: results would be taken for "
            "images the next time; name another folder."
        )


def _warn_of_unused_boxes(detector: Detector, sources: Sequence[Source]) -> None:
    if isinstance(detector, BoxesDetector) and (unused := detector.unused([s.name for s in sources])):
        _log.warning(
            "the boxes file has boxes for %s, of which none is among the images.", ", ".join(unused[:10])
        )


def _detector_name(options: DemoOptions) -> str:
    if options.detector == "auto":
        return choose_detector(options.detector_dir, options.boxes, options.body_detector)
    return options.detector


def _facts(options: DemoOptions, detector: str) -> dict[str, Any]:
    """What the `.json` says about how the hands were made."""
    run = options.run
    return {
        "checkpoint": options.checkpoint.name if options.checkpoint else "bundled",
        "schedule": str(run.schedule),
        "method": run.method,
        "unmerge": run.unmerge,
        "dtype": options.dtype_name,
        "detector": detector,
        "rescale_factor": options.rescale_factor,
    }


def _options_digest(options: DemoOptions, detector: str, model: nn.Module) -> str:
    """A digest of all that decides what the result files hold, apart from the image."""
    saved = ("side_view", "full_frame", "save_mesh", "save_params", "compare", "tokens", "focal_px")
    return digest_of(
        {
            **_facts(options, detector),
            **{name: getattr(options, name) for name in saved},
            "body_detector": options.body_detector if detector == "vitdet" else None,
            "boxes": file_sha256(options.boxes) if options.boxes and options.boxes.is_file() else None,
            "weights": weights_sha256(model),
        }
    )
