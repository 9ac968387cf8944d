"""Two runs of eval.py compared in pairs; see `shared_tmu.evaluation.compare_program`."""

import sys
from pathlib import Path

from shared_tmu.evaluation.compare_program import main

if __name__ == "__main__":
    sys.exit(main(data_dir=Path(__file__).resolve().parents[1] / "data"))
