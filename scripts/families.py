"""Find out which families of timm's models can be patched, and write the table.

    python scripts/families.py            rewrite the table in shared_tmu/FAMILIES.md
    python scripts/families.py --check    write nothing; exit 1 if a line is out of date

Every family is tried on a small model with random weights, so nothing is downloaded. Needs
`shared_tmu[timm]`; takes about a minute.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from shared_tmu.classification.families import judge_all, show_table
from shared_tmu.files import write_text
from shared_tmu.programs.console import run_program

PAGE = Path(__file__).resolve().parents[1] / "shared_tmu" / "FAMILIES.md"
BLOCK = re.compile(r"(<!-- families:begin -->\n).*?(<!-- families:end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a line is out of date")
    options = parser.parse_args(arguments)
    before = PAGE.read_text(encoding="utf-8")
    table = show_table(judge_all())
    after = BLOCK.sub(lambda found: found[1] + table + found[2], before)
    if after == before:
        sys.stdout.write(f"{PAGE.name} is up to date\n")
        return 0
    if options.check:
        sys.stderr.write(f"{PAGE.name} is out of date: run python scripts/families.py\n")
        return 1
    write_text(PAGE, after)
    sys.stdout.write(f"wrote {PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
