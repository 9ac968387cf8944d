"""Adds up the JUnit reports of several pytest runs and ends with one line in pytest's own form.

scripts/test.sh runs pytest once per folder; the last lines of its output should still show every failure.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from shared_tmu.programs.console import run_program


def read_reports(folder: Path) -> tuple[Counter[str], list[str], float]:
    """Return the number of tests per outcome, the failed tests by name, and the seconds of all reports."""
    counts: Counter[str] = Counter()
    bad: list[str] = []
    seconds = 0.0
    for report in sorted(folder.glob("*.xml")):
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            seconds += float(suite.get("time", 0))
            for case in suite.iter("testcase"):
                kinds = {child.tag for child in case}
                outcome = next((k for k in ("failure", "error", "skipped") if k in kinds), "passed")
                outcome = {"failure": "failed", "error": "errors"}.get(outcome, outcome)
                counts[outcome] += 1
                if outcome in ("failed", "errors"):
                    bad.append(f"{case.get('classname')}::{case.get('name')}")
    return counts, bad, seconds


def main() -> int:
    """Write the closing lines; 0 if everything passed, 1 if anything failed or nothing ran."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reports", type=Path, help="folder with the *.xml files of pytest --junitxml")
    parser.add_argument(
        "failed", nargs="*", help="names of failed steps, which are listed before the last line"
    )
    args = parser.parse_args()

    counts, bad, seconds = read_reports(args.reports)
    lines = [f"FAILED {name}" for name in bad] + [f"FAILED {step}" for step in args.failed]
    total = ", ".join(f"{counts[k]} {k}" for k in ("failed", "passed", "skipped", "errors") if counts[k])
    lines.append(f" {total or 'no tests ran'} in {seconds:.2f}s ".center(80, "="))
    sys.stdout.write("==> All folders together\n" + "\n".join(lines) + "\n")
    return 0 if not bad and not args.failed and counts["passed"] + counts["skipped"] else 1


if __name__ == "__main__":
    sys.exit(run_program(main))
