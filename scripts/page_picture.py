"""Takes the picture of the page that README shows: the real page, in Chromium, on one of our renders.

    python scripts/page_picture.py                    # writes assets/page.png
    python scripts/page_picture.py --out DIR/a.png

It needs playwright, of `shared_tmu[dev]`, and Chromium (Debian's package `chromium`). The times in the
picture are measured: let nothing else run meanwhile.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bundled import REPOSITORY

from shared_tmu.errors import MissingDependencyError
from shared_tmu.files import replacing
from shared_tmu.programs.console import run_program

SIZE_PX = (1280, 960)
SAMPLE = 2  # the third
WEBGL = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PATIENCE_MS = 120_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the picture; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=REPOSITORY / "assets" / "page.png", help="(%(default)s)")
    out: Path = parser.parse_args(arguments).out

    def take() -> None:
        with served() as address, browser() as opened:
            shot = photographed(opened, address)
            with replacing(out) as beside:
                beside.write_bytes(shot)

    return run_program(take)


@contextmanager
def served() -> Iterator[str]:
    """The address of a page that runs in a process of its own, on a free port of this machine."""
    command = [sys.executable, "-m", "shared_tmu.page", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            lines = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stderr)
            yield next(found[0] for found in lines if found)
        finally:
            server.terminate()


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium that can draw in 3D without a graphics card.

    Raises:
        MissingDependencyError: it is not installed, or playwright is not.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingDependencyError("this needs playwright: pip install 'shared_tmu[dev]'") from error
    if program is None:
        raise MissingDependencyError("this needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(WEBGL))
        yield opened
        opened.close()


def photographed(opened: Any, address: str) -> bytes:
    """The page with the sample's results, as PNG."""
    page = opened.new_page(viewport={"width": SIZE_PX[0], "height": SIZE_PX[1]})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.wait_for_selector(".tmu-value")
    before = page.inner_text(".tmu-report")
    page.locator("#samples button").nth(SAMPLE).click()
    page.wait_for_function("old => document.querySelector('.tmu-report').innerText !== old", arg=before)
    page.wait_for_selector(".tmu-value")
    page.wait_for_timeout(4000)  # until the mesh is drawn
    shot: bytes = page.screenshot()
    return shot


if __name__ == "__main__":
    sys.exit(main())
