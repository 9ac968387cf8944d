"""The model folders look alike, and what they share lies in shared_tmu."""

import ast
import itertools
from difflib import SequenceMatcher
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path for path in ROOT.glob("*_TMU") if path.is_dir())
PAIRS = list(itertools.combinations(FOLDERS, 2))
PARTS = [
    *("README.md", "demo.py", "eval.py", "export.py", "train.py", "requirements.txt", "configs/base.yaml"),
    *("__init__.py", "pyproject.toml", "setup.py", "model/__init__.py"),
    *("configs/train.yaml", "tests/folder.py", "tmu/__init__.py", "tmu/program.py"),
]
RUN = 4  # fewer equal lines in a row are no copy
MAX_SHARED = 48


def code_lines(path: Path) -> list[str]:
    """Statements without comments, docstrings, imports and layout."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            kept = [x for x in node.body if not isinstance(x, ast.Import | ast.ImportFrom)]
            texts = [isinstance(x, ast.Expr) and isinstance(x.value, ast.Constant) for x in kept]
            node.body = [x for x, is_text in zip(kept, texts, strict=True) if not is_text] or [ast.Pass()]
    return ast.unparse(tree).splitlines()


def count_shared(first: Path, second: Path) -> int:
    """Lines of the first folder's programs that stand in a run in a file of the second."""
    modules = [
        [
            code_lines(path)
            for path in sorted(folder.rglob("*.py"))
            if not {"tests", "build"} & set(path.parts)
        ]
        for folder in (first, second)
    ]
    total = 0
    for lines in modules[0]:
        found: set[int] = set()
        for others in modules[1]:
            for block in SequenceMatcher(None, lines, others, autojunk=False).get_matching_blocks():
                if block.size >= RUN:
                    found.update(range(block.a, block.a + block.size))
        total += len(found)
    return total


def sections(folder: Path) -> list[str]:
    """Second-level titles of a folder's README."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("## ")]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda path: path.name)
def test_no_pair_of_folders_shares_much_code(first: Path, second: Path) -> None:
    assert count_shared(first, second) <= MAX_SHARED


def test_copies_are_seen(tmp_path: Path) -> None:
    copy = tmp_path / "Copy_TMU"
    copy.mkdir()
    for name in ("head.py", "model.py"):
        (copy / name).write_text((ROOT / "HaMeR_TMU" / "model" / name).read_text())
    assert count_shared(copy, ROOT / "HaMeR_TMU") > MAX_SHARED


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_folders_have_the_same_parts(folder: Path) -> None:
    assert [part for part in PARTS if not (folder / part).is_file()] == []
    assert sections(folder) == sections(FOLDERS[0])
