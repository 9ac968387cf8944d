"""The demo's command line: pictures, or a video."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from shared_tmu.demo.options import DemoOptions, parse_options
from shared_tmu.demo.runner import run_pictures
from shared_tmu.demo.timeline import Timeline
from shared_tmu.demo.video import run_video
from shared_tmu.programs.console import run_program
from shared_tmu.programs.model_program import ModelProgram


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 only if every image was processed."""
    warnings.filterwarnings("ignore", module="PIL")  # what matters about a file is said in its own message
    asked: list[DemoOptions] = []

    def work() -> int:
        asked.append(parse_options(program, arguments))
        return run_demo(program, asked[0])

    def interrupted() -> str:
        if asked and asked[0].video is not None:
            return "Interrupted. A clip is saved when all of it is done: nothing was saved."
        return "Interrupted. What was finished is complete; the same command with --resume goes on from here."

    return run_program(work, interrupted)


def run_demo(program: ModelProgram, options: DemoOptions) -> int:
    """Process a folder of images, or a clip; `main` for Python.

    Returns:
        Exit status: 1 if anything failed.

    Raises:
        TMUError: as `run_pictures` and `run_video`.
    """
    timeline = Timeline()
    if options.video is not None:
        return run_video(program, options, timeline)
    return run_pictures(program, options, timeline)
