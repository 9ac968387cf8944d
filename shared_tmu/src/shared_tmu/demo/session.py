"""A run on this machine: the stages of `stages`, timed, and the closing table."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared_tmu.demo.digest import facts_of
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.progress import progress
from shared_tmu.demo.stages import Stages
from shared_tmu.demo.summary import closing_rows, last_line, list_of, pictures_of
from shared_tmu.errors import InputError
from shared_tmu.programs.results import append_record, describe_environment
from shared_tmu.programs.rows import format_rows


class Session:
    """Everything that a run needs, and its totals.

    Args:
        stages: the stages, with their source and sink.
        folder: output folder of the results.
    """

    def __init__(self, stages: Stages, folder: OutputFolder) -> None:
        self.stages, self.folder = stages, folder
        self.options, self.predictor = stages.options, stages.predictor
        self.source, self.report, self.timeline = stages.source, stages.report, stages.timeline

    def process(self) -> int:
        """Process all images, print the closing table, return the exit status."""
        self.predictor.warm_up(self.options.batch_size)
        started = time.perf_counter()
        with self.timeline.part("ending"):
            try:
                with progress(self.source.expected, self.report.unit) as bar:
                    self.stages.run(bar)
            finally:
                self.predictor.release()
            self._account(time.perf_counter() - started)
            return self._close()

    def _account(self, working_s: float) -> None:
        """Combine the measurements of the timeline and of the predictor."""
        report, predictor, spent = self.report, self.predictor, self.timeline.seconds
        comparer = self.stages.comparer
        self.timeline.move(predictor.seconds, "handing", "model")
        self.timeline.move(predictor.converting_s, "comparing" if comparer else "handing", "converting")
        report.seconds["model"] = predictor.seconds
        report.converting_s = predictor.converting_s
        report.wall_s = working_s - predictor.converting_s
        report.waited_for_crops_s = spent["waiting_for_crops"]
        report.waited_for_files_s = spent["waiting_for_files"]

    def _close(self) -> int:
        """Close the sink; the closing table and lines; the exit status."""
        report, predictor, comparer = self.report, self.predictor, self.stages.comparer
        failures = report.failures_in_order(self.source.place) + self.source.problems()
        self.stages.sink.close(report.found, failures)
        rows = closing_rows(predictor.program, predictor.model, self.options, report, predictor.crops)
        rows += self.stages.sink.closing_rows()
        if predictor.dtype_error is not None:
            rows.append(("vertices off float32", str(predictor.dtype_error)))
        lines = [format_rows(rows), "", format_rows(self.timeline.rows(report.many))]
        if comparer is not None and comparer.timings:
            lines += ["", format_rows(comparer.table())]
        lines += list_of(failures)
        made = report.shown if pictures_of(self.options) else report.images + report.kept
        lines += ["", last_line(self.options, f"{made} of {self.source.total} {report.unit}", self.folder)]
        sys.stdout.write("\n".join(lines) + "\n")
        if self.options.report is not None:
            self._write_report(self.options.report)
        return 1 if failures else 0

    def _write_report(self, path: Path) -> None:
        what = facts_of(self.options, self.stages.detector.name)
        how: dict[str, Any] = {
            "kind": "demo",
            "model": self.predictor.program.name,
            **what,
            "device": str(self.options.device),
            "batch_size": self.options.batch_size,
            "overlays": self.options.overlays,
            "draw_processes": len(self.stages.finisher.pids),
        }
        error_mm = self.predictor.dtype_error
        how["dtype_error"] = None if error_mm is None else asdict(error_mm)
        environment = describe_environment(self.options.device, self.predictor.program.folder)
        try:
            append_record(path, {**how, **self.report.record(), **environment})
        except OSError as error:
            raise InputError(
                f"--report {path} cannot be written to ({error.strerror or error}); the images are done."
            ) from error
