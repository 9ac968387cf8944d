"""The evaluation runner that every model folder's `eval.py` calls."""

from shared_tmu.evaluation.runner import evaluate, main
from shared_tmu.evaluation.settings import EvalSettings, build_parser, parse_settings
from shared_tmu.programs.model_program import BODY, HAND, EvalProgram, Run, Subject

__all__ = [
    "BODY",
    "HAND",
    "EvalProgram",
    "EvalSettings",
    "Run",
    "Subject",
    "build_parser",
    "evaluate",
    "main",
    "parse_settings",
]
