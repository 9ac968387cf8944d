"""The demo runner that every model folder's `demo.py` calls."""

from shared_tmu.demo.options import DemoOptions, build_parser, parse_options
from shared_tmu.demo.program import main, run_demo

__all__ = ["DemoOptions", "build_parser", "main", "parse_options", "run_demo"]
