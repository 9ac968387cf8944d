"""The evaluation runner that every model folder's `eval.py` calls."""

from shared_tmu.evaluation.runner import evaluate, main
from shared_tmu.evaluation.settings import EvalSettings, build_parser, parse_settings

__all__ = ["EvalSettings", "build_parser", "evaluate", "main", "parse_settings"]
