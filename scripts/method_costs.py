"""Writes into the docstring of each method how long it takes relative to its slicing floor.

    python scripts/method_costs.py            rewrite the sentences
    python scripts/method_costs.py --check    write nothing; exit 1 if one is out of date

The numbers are the times of `compare_methods.py` in `assets/hamer_methods.jsonl`, at 8x16.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

from bundled import BUNDLED
from comparison import Run
from method_lines import COST_AT
from method_ways import PUBLISHED

from shared_tmu.files import write_text
from shared_tmu.method_parts.method import Method
from shared_tmu.method_parts.places import Place
from shared_tmu.method_parts.restores import COPY
from shared_tmu.methods import METHODS
from shared_tmu.programs.console import run_program
from shared_tmu.programs.results import read_records

START = "Time over that of the slicing floor"
_SENTENCE = re.compile(rf"^(?:\* )?{START}.*?(?=^\*|^\"\"\"|^$)", re.DOTALL | re.MULTILINE)
_WIDTH = 110
_BREAKS = {"break_on_hyphens": False, "break_long_words": False}


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite or check the sentences; 0 if all are now up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one is out of date")
    given = parser.parse_args(arguments)
    lines = read_records(BUNDLED["hamer"].lines("methods"))
    stale = False
    for path, rows in files_of(METHODS).items():
        old = path.read_text(encoding="utf-8")
        new = with_sentence(old, sentence(rows, lines))
        if new == old:
            continue
        stale = True
        if given.check:
            sys.stderr.write(f"{path.name} is out of date: run python scripts/method_costs.py\n")
        else:
            write_text(path, new)
            sys.stdout.write(f"{path.name} updated\n")
    return 1 if stale and given.check else 0


def files_of(methods: Mapping[str, Method]) -> dict[Path, list[str]]:
    """The file of each method, with the names of its rows."""
    found: dict[Path, list[str]] = {}
    for name, row in methods.items():
        assert isinstance(row.step, Place)
        module = sys.modules[row.step.plan.__module__]
        assert module.__file__ is not None
        found.setdefault(Path(module.__file__), []).append(name)
    return found


def sentence(names: Sequence[str], lines: Sequence[Run]) -> str:
    """What the rows of a file cost, from published lines; empty if none of them was timed."""
    known = {line["method"]: line for line in lines if is_cost(line)}
    parts, about = [], ""
    for name in names:
        line = known.get(name)
        if line is None or line.get("overhead") is None:
            continue
        low, high = line["overhead_quartiles"]
        cost = f"{100 * line['overhead']:+.0f} % ({100 * low:+.0f} to {100 * high:+.0f})"
        parts.append(f"{name} {cost}" if len(names) > 1 else cost)
        machine = f"{line['timed_threads']} thread(s) of {line['machine']['processor']}"
        about = f"; {line['model']}-Thin, {line['schedule']}, {line['timed_batch_size']} images, {machine}"
    return f"{START}: {', '.join(parts)}{about}, from `assets/hamer_methods.jsonl`." if parts else ""


def is_cost(line: Run) -> bool:
    """Whether a line is the one that a docstring quotes: the method at `COST_AT`, or its only schedule."""
    is_usual = line["restore"] == COPY and line["profile"] == PUBLISHED and line["schedule"] != "off"
    return is_usual and (line["budget"] == COST_AT or line["schedule"] != line["budget"])


def with_sentence(source: str, text: str) -> str:
    """A method's source with this sentence at the end of the list in its docstring, or of the docstring.

    An empty sentence changes nothing: what was measured once stays until it is measured again.
    """
    if not text:
        return source
    head, quotes, rest = source[3:].partition('"""')
    lines = _SENTENCE.sub("", head).rstrip().split("\n")
    items = [number for number, line in enumerate(lines) if line.startswith("* ")]
    shown = wrap(f"* {text}" if items else text, _WIDTH, subsequent_indent="  " if items else "", **_BREAKS)
    if not items:
        return "\n".join([f'"""{lines[0]}', *lines[1:], "", *shown, f"{quotes}{rest}"])
    last = items[-1] + 1
    while last < len(lines) and lines[last].startswith("  "):
        last += 1
    return "\n".join([f'"""{lines[0]}', *lines[1:last], *shown, *lines[last:], f"{quotes}{rest}"])


if __name__ == "__main__":
    sys.exit(run_program(main))
