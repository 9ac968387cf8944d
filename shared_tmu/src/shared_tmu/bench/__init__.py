"""Timing that can be repeated, and results as JSON lines."""

from shared_tmu.bench.records import append_record, describe_environment, read_records
from shared_tmu.bench.timing import Comparison, Timing, compare_times, measure_in_turn

__all__ = [
    "Comparison",
    "Timing",
    "append_record",
    "compare_times",
    "describe_environment",
    "measure_in_turn",
    "read_records",
]
