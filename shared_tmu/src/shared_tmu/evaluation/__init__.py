"""The evaluation runner that every model folder's `eval.py` calls."""

from shared_tmu.runtime.torchvision import declare_operators

declare_operators()  # before Lightning imports torchvision

from shared_tmu.evaluation.runner import evaluate, main  # noqa: E402
from shared_tmu.evaluation.settings import EvalSettings, build_parser, parse_settings  # noqa: E402

__all__ = ["EvalSettings", "build_parser", "evaluate", "main", "parse_settings"]
