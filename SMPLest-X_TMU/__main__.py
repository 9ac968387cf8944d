"""The programs of this folder as one command: `smplest-x-tmu demo`, `smplest-x-tmu eval`, ..."""

import sys

from shared_tmu.programs.command import run_command


def run() -> int:
    """Run the program that the first argument names; returns the exit status."""
    return run_command("smplest_x_tmu")


if __name__ == "__main__":
    sys.exit(run())
