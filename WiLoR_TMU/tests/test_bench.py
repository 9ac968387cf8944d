"""What every folder is under the benchmark, this folder's refinement among its parts."""

from folder import FOLDER
from suites.bench import BenchSuite


class TestBench(BenchSuite):
    folder = FOLDER
