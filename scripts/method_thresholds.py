"""Schedules of equal cost for methods whose counts depend on the image: one threshold for all blocks."""

from typing import NamedTuple

from bundled import Bundled
from method_ways import BASE, Way, flops_of

from shared_tmu.evaluation.learned_costs import equal_threshold
from shared_tmu.flops import TrunkShape
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.model_program import find_program
from shared_tmu.programs.results import append_record, read_records

PICTURES = 64
"""On which tokens and FLOPs are counted."""


class Counted(NamedTuple):
    """A schedule, and what it costs on average.

    Args:
        schedule: its text.
        flops_share: FLOPs of the blocks over those without merging.
        tokens_kept: tokens at the end.
    """

    schedule: str
    flops_share: float
    tokens_kept: float | None = None


def find_thresholds(model: Bundled, shape: TrunkShape, way: Way) -> Counted:
    """The threshold with the FLOPs of the way's budget; what was found is kept with the model's results."""
    kept = model.folder / "results" / f"{model.stem}-thresholds.jsonl"
    key = f"{file_sha256(model.checkpoint)} {way.method} {way.budget}"
    for line in read_records(kept):
        if line.get("key") == key and set(Counted._fields) <= line.keys():
            return Counted(line["schedule"], line["flops_share"], line["tokens_kept"])
    program = find_program(model.stem)
    share = flops_of(BASE, way.budget, shape) / flops_of(BASE, "off", shape)
    found = equal_threshold(program, program.load_model(None), way.method, share, PICTURES)
    counted = Counted(str(found.schedule), found.flops_share, round(found.kept, 1))
    append_record(kept, {"key": key, **counted._asdict()})
    return counted
