"""What every folder is under the benchmark; a profile of this one is of the model alone."""

from folder import FOLDER
from suites.bench import BenchSuite

from shared_tmu.bench.profile import PARTS


class TestBench(BenchSuite):
    folder = FOLDER
    parts = tuple(part for part in PARTS if part not in ("detection", "crop", "rendering"))
