"""The demo's command line and a run of the demo: from a source, through a session, into a sink."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext

from shared_tmu.demo.clip_sink import ClipSink
from shared_tmu.demo.digest import options_digest
from shared_tmu.demo.distributing import Distribution
from shared_tmu.demo.drawing import Finisher, choose_processes
from shared_tmu.demo.engine import LOCAL
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.live import LiveSource, open_live
from shared_tmu.demo.options import DemoOptions, parse_options
from shared_tmu.demo.predict import Predictor
from shared_tmu.demo.quitting import quitting
from shared_tmu.demo.searching import load_for
from shared_tmu.demo.session import Session
from shared_tmu.demo.sinks import FileSink, ImageSink
from shared_tmu.demo.sources import PictureSource, VideoSource, open_pictures, open_video
from shared_tmu.demo.stages import Stages
from shared_tmu.demo.subjects import demo_subject
from shared_tmu.demo.summary import close_kept
from shared_tmu.demo.timeline import Timeline
from shared_tmu.programs.console import run_program
from shared_tmu.programs.model_program import ModelProgram

MANY_FRAMES = 1000
"""Number of frames that is assumed if a clip's file does not state it."""


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 only if every image was processed."""
    # problems with a file are reported by our own messages
    warnings.filterwarnings("ignore", module="PIL")
    asked: list[DemoOptions] = []

    def work() -> int:
        asked.append(parse_options(program, arguments))
        return run_demo(program, asked[0])

    def interrupted() -> str:
        if asked and asked[0].is_clip:
            return "Interrupted. A clip is saved only when all of it is done, so nothing was saved."
        return "Interrupted. Finished images are complete; run the same command with --resume to continue."

    return run_program(work, interrupted)


def run_demo(program: ModelProgram, options: DemoOptions) -> int:
    """Process a folder of images, or a clip; failures are reported at the end and do not stop the rest.

    Returns:
        Exit status: 1 if anything failed.

    Raises:
        TMUError: before any work, if there are no images, the output folder cannot be written to or holds
            results of another model or of other files under their names, or the model or the detector cannot
            be loaded; later, if the output folder can no longer be written to.
    """
    timeline = Timeline()
    source = _open(options)
    subject = demo_subject(program.estimates)
    images = MANY_FRAMES if source.expected is None else source.expected
    is_local = options.engine == LOCAL
    processes = choose_processes(options.draw_processes, images, options.draws) if is_local else 0
    with (
        OutputFolder(options.out_folder, "", program.name) as folder,
        Finisher(processes) as finisher,
    ):
        earlier = source.settle(folder)
        detector = subject.make_detector(subject.detector_name(options), options, str(options.device))
        model, options = load_for(program, options)
        folder.options = options_digest(options, detector, model)
        sink = _sink(source, folder, options, earlier)
        if (note := sink.all_kept()) is not None:
            assert isinstance(source, VideoSource)
            return close_kept(options, source.clip.name, note, folder)
        source.check_boxes(detector)
        with sink:
            if isinstance(source, PictureSource) and isinstance(sink, FileSink) and not is_local:
                return Distribution(program, options, model, detector, source, sink, folder).process()
            predictor = Predictor(
                program, model, options.run, options.device, options.dtype, options.tokens, options.packed
            )
            stages = Stages(options, predictor, detector, source, sink, finisher, timeline)
            with quitting(source.reader.stop) if isinstance(source, LiveSource) else nullcontext():
                return Session(stages, folder).process()


def _open(options: DemoOptions) -> PictureSource | VideoSource | LiveSource:
    """The source that a command line names."""
    if options.camera is not None:
        return open_live(options.camera)
    return open_pictures(options) if options.video is None else open_video(options)


def _sink(
    source: PictureSource | VideoSource | LiveSource, folder: OutputFolder, options: DemoOptions, earlier: int
) -> ImageSink:
    """The sink for the results of a source."""
    if not isinstance(source, PictureSource):
        return ClipSink(folder, options, source)
    return FileSink(folder, options, earlier)
