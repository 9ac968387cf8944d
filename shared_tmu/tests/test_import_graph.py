"""Who imports whom in shared_tmu: rooms stand in an order, nothing imports upwards, nothing runs in a circle.

Every import counts, also one inside a function: it is there for speed, or to name a missing package, never
to hide that two modules need each other.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import shared_tmu

ROOT = Path(shared_tmu.__file__).parent
ORDER: tuple[tuple[str, ...], ...] = (
    ("dtypes", "errors"),
    ("files", "flops", "kernels", "limits", "schedule_rules", "schedule_text"),
    ("plans", "schedule"),
    ("blocks", "schedule_limits"),
    ("method_parts",),
    ("methods",),
    ("late", "trunk_settings"),
    ("trunk_pass",),
    ("trunk",),
    ("patching",),
    ("shared_tmu",),
    ("layers", "masks", "metrics", "pictures", "runtime"),
    ("body_models",),
    ("detect", "models", "synth", "temporal"),
    ("datasets", "programs"),
    ("export", "viz"),
    ("evaluation",),
    ("classification",),
    ("bench", "demo", "training"),
    ("api",),
    ("page",),
)
"""From the ground up: a room imports itself and rooms of lower rows. A room is a package or a module of the
root; `shared_tmu` is the root itself, with the public names. Up to there it is the core, which needs only
torch."""

ROW = {room: number for number, rooms in enumerate(ORDER) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module by its dotted name; a package by its `__init__.py`."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, known: set[str]) -> set[str]:
    """Modules of ours that a module names; `from package import name` is the package if it is no module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                source = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            if source in known:
                found.update(
                    f"{source}.{alias.name}" if f"{source}.{alias.name}" in known else source
                    for alias in node.names
                )
    return found - {name}


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    found = modules()
    return {name: imports_of(name, path, set(found)) for name, path in found.items()}


def room_of(name: str) -> str:
    """The room of a module: the package or module below the root that it is, or lies in."""
    return ".".join(name.split(".")[1:2]) or name


def test_every_room_has_its_place(graph: dict[str, set[str]]) -> None:
    assert {room_of(name) for name in graph} == set(ROW)


def test_no_import_goes_up_or_across(graph: dict[str, set[str]]) -> None:
    bad = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if room_of(name) != room_of(other) and ROW[room_of(other)] >= ROW[room_of(name)]
    ]
    assert bad == []


def test_the_core_needs_only_torch() -> None:
    """Outside of functions; Triton is imported by the modules that the first call of a kernel loads."""
    allowed = {*sys.stdlib_module_names, "shared_tmu", "torch"}
    lazy = {"shared_tmu.kernels.launch", "shared_tmu.kernels.device_code"}
    for name, path in modules().items():
        is_lazy = any(name == part or name.startswith(f"{part}.") for part in lazy)
        if ROW[room_of(name)] <= ROW["shared_tmu"]:
            assert packages_of(path) <= allowed | ({"triton"} if is_lazy else set()), name


def packages_of(path: Path) -> set[str]:
    """Packages that a module imports when it is loaded."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def test_there_is_no_circle(graph: dict[str, set[str]]) -> None:
    assert circles(graph) == []


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules of which each reaches each other, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def test_circles_are_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_no_two_classes_have_one_name() -> None:
    """Private ones too: a reader who looks for one finds the other."""
    places: dict[str, list[str]] = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
