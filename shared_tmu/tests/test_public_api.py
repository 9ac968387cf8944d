"""The public names and parameters; changing one means editing `api_surface.json` on purpose."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import shared_tmu

SURFACE = json.loads((Path(__file__).parent / "api_surface.json").read_text())


def test_names():
    assert sorted(shared_tmu.__all__) == SURFACE["shared_tmu"]
    assert all(hasattr(shared_tmu, name) for name in SURFACE["shared_tmu"])


@pytest.mark.parametrize("name", [name for name in SURFACE if name != "shared_tmu"])
def test_members_and_parameters(name):
    thing = getattr(shared_tmu, name)
    if not isinstance(thing, type):
        assert list(inspect.signature(thing).parameters) == SURFACE[name]
        return
    members = {member for member in vars(thing) if not member.startswith("_")}
    if is_dataclass(thing):
        members |= {field.name for field in fields(thing)}
    assert sorted(members - {"validate"}) == SURFACE[name]


@pytest.mark.parametrize("name", [name for name in SURFACE["shared_tmu"] if name != "METHODS"])
def test_everything_public_is_documented(name):
    thing = getattr(shared_tmu, name)
    assert inspect.getdoc(thing)
    for member in SURFACE.get(name, []) if isinstance(thing, type) else []:
        described = inspect.getdoc(getattr(thing, member, None)) or ""
        assert described or f"{member}: " in inspect.getdoc(thing), f"{name}.{member}"


def test_the_core_imports_torch_and_nothing_else_of_ours():
    code = (
        "import sys, torch; before = set(sys.modules); import shared_tmu; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "print(sorted(new))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['shared_tmu']"
