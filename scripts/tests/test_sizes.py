"""Files and functions that can be read in one go."""

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES, MEDIAN_LINES = 300, 125
MOST_LINES_OF_A_FUNCTION = 60


def sources() -> list[Path]:
    """All Python files of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def long_functions(path: Path) -> Iterator[str]:
    """Functions of a file with too many lines, decorators aside."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            if length > MOST_LINES_OF_A_FUNCTION:
                yield f"{path.relative_to(ROOT)}: {node.name} has {length} lines"


def test_no_file_is_long_and_most_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert [f"{path.relative_to(ROOT)}: {n}" for path, n in lengths.items() if n > MOST_LINES] == []
    assert median(lengths.values()) <= MEDIAN_LINES


def test_no_function_is_long() -> None:
    assert [found for path in sources() for found in long_functions(path)] == []


def test_no_two_test_files_of_a_folder_share_a_name() -> None:
    # pytest imports test files by their bare names: the second of two is not collected
    names = Counter(
        (path.relative_to(ROOT).parts[0], path.name) for path in sources() if "tests" in path.parts
    )
    shared = [
        name for name, count in names.items() if count > 1 and name[1] not in ("conftest.py", "__init__.py")
    ]
    assert shared == []
