"""eval.py of the toy program, to be started as several processes: FOLDER, then eval.py's flags."""

import sys
from pathlib import Path

from toy_hand_model import toy_program

from shared_tmu.evaluation import main

if __name__ == "__main__":
    sys.exit(main(toy_program(Path(sys.argv[1])), sys.argv[2:]))
