"""The programs of this folder as one command: `wilor-tmu demo`, `wilor-tmu eval`, ..."""

import sys

from shared_tmu.programs.command import run_command


def run() -> int:
    """Run the program that the first argument names; returns the exit status."""
    return run_command("wilor_tmu")


if __name__ == "__main__":
    sys.exit(run())
