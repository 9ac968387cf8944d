"""Containerfile: its files exist, its command is the page, and its install step knows two devices.

`bash scripts/check_container.sh DIR` builds it or runs its steps, which takes minutes.
"""

import json
import subprocess
from pathlib import Path

import pytest

from shared_tmu.page.options import parse_options

ROOT = Path(__file__).resolve().parents[2]
STEPS = [
    line.partition(" ")[::2]
    for line in (ROOT / "Containerfile").read_text().splitlines()
    if line and line[0] != "#"
]


def test_what_it_copies_exists_and_brings_all_models() -> None:
    copied = {rest.split()[0] for step, rest in STEPS if step == "COPY"}
    assert all((ROOT / name).exists() for name in copied)
    assert {path.name for path in ROOT.glob("*_TMU")} < copied
    assert "constraints.txt" in copied


def test_its_command_is_the_page_for_others_than_the_container() -> None:
    (command,) = (json.loads(rest) for step, rest in STEPS if step == "CMD")
    assert command[:3] == ["python", "-m", "shared_tmu.page"]
    options = parse_options(command[3:])
    assert options.host == "0.0.0.0"
    assert ("EXPOSE", str(options.port)) in STEPS
    assert any(step == "USER" and rest != "root" for step, rest in STEPS)


def test_another_device_is_refused() -> None:
    script = ROOT / "scripts/container_install.sh"
    done = subprocess.run(
        ["bash", str(script)], env={"PATH": "/usr/bin:/bin", "DEVICE": "tpu"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "use cpu or gpu" in done.stderr


@pytest.mark.parametrize("name", ["container_install", "check_container", "page"])
def test_scripts_can_be_read_by_bash(name: str) -> None:
    assert subprocess.run(["bash", "-n", str(ROOT / f"scripts/{name}.sh")]).returncode == 0
