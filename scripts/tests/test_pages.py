"""Pages are whole, and lead to files that are there."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from pages import PAGES, ROOT


def test_rows_of_tables_are_not_wrapped() -> None:
    """A row that goes on in the next line ends the table there."""
    wrapped = [
        f"{page.relative_to(ROOT)}: {line}"
        for page in PAGES
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and not line.endswith("|")
    ]
    assert wrapped == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_no_file_names_a_place_on_one_machine() -> None:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    private = re.compile(rb"/(?:root|home|Users|work|mnt|tmp)/\w")
    found = [
        name
        for name in names.decode().split("\0")
        if name and (ROOT / name).is_file() and name != "scripts/tests/test_pages.py"
        if private.search((ROOT / name).read_bytes())
    ]
    assert not found


def test_how_busy_the_demo_is_said_to_be_is_what_was_measured() -> None:
    path = ROOT / "assets" / "bench" / "hamer_busy_cpu.jsonl"
    (run,) = [run for run in map(json.loads, path.read_text().splitlines()) if run["images"] == 200]
    text = " ".join((ROOT / "assets" / "bench" / "README.md").read_text(encoding="utf-8").split())
    (said,) = re.findall(r"a forward pass was running (\d+) % of the wall time on (\d+) cores", text)
    assert said == (f"{100 * run['model_busy']:.0f}", str(run["machine"]["cpu_threads"]))
    assert (run["schedule"], run["dtype"], run["overlays"]) == ("10x16", "bfloat16", True)
    memory = [sum(pair) for pair in zip(run["memory_mb"], run["memory_of_drawing_mb"], strict=True)]
    assert max(memory) < 1.02 * memory[0]  # it did not grow
