"""The page in a real browser: it opens, the slider moves, and the pictures change; no other machine is asked.

Runs where Chromium (Debian's package `chromium`), playwright, gradio and HaMeR_TMU are installed.
"""

import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from toy_demo import write_pictures

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of shared_tmu[dev]")
pytest.importorskip("gradio", reason="the page needs gradio: pip install 'shared_tmu[page]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs Chromium: apt-get install chromium", allow_module_level=True)
if not any(entry.name == "hamer" for entry in entry_points(group="shared_tmu.models")):
    pytest.skip("needs HaMeR_TMU: pip install ./HaMeR_TMU", allow_module_level=True)

SOFTWARE = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LONG_MS = 120_000
MOST_LOOKS = 5


@pytest.fixture(scope="module")
def address():
    """Of a page that runs in a process of its own, on a free port."""
    command = [sys.executable, "-m", "shared_tmu.page", "--port", "0", "--device", "cpu", "--model", "hamer"]
    with subprocess.Popen([*command, "--max_mb", "1"], stderr=subprocess.PIPE, text=True) as server:
        try:
            yield next(
                found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
            )
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        yield started
        started.close()


@pytest.fixture
def page(browser, address):
    """A user's page that has shown its first result; everything it asks for is in `page.asked`."""
    context = browser.new_context(viewport={"width": 1440, "height": 1100})
    page = context.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.set_default_timeout(LONG_MS)
    page.goto(address)
    page.wait_for_selector(".tmu-value")
    yield page
    context.close()


def settled(page, before):
    """The report, once it is another than `before` and nothing is being computed."""
    page.wait_for_function(
        """before => {
            const report = document.querySelector(".tmu-report");
            const busy = document.querySelector("#report .wrap:not(.hide)");
            return report && !busy && report.innerText !== before;
        }""",
        arg=before,
    )
    return page.inner_text(".tmu-report")


def source(page, name):
    return page.get_attribute(f"#{name} img", "src")


def milliseconds(report):
    merged, off = re.findall(r"([\d.]+) ms", report)
    return float(merged), float(off)


def speedup(report):
    """Median over the rounds in which the page timed the network with merging and without, in turn."""
    (found,) = re.findall(r"^([\d.]+)x$", report, re.MULTILINE)
    return float(found)


def test_the_slider_changes_pictures_and_nothing_comes_from_elsewhere(page, address, tmp_path):
    first = page.inner_text(".tmu-report")
    assert "schedule 7x16" in first or "schedule 8x16" in first
    assert min(milliseconds(first)) > 0
    pictures = {name: source(page, name) for name in ("overlay", "merged", "strips")}
    slider = page.get_by_label("range slider for Tokens merged in each of the first 16 blocks")
    slider.focus()
    slider.press("End")
    strongest = settled(page, first)
    assert "16 of 192" in strongest
    assert "schedule 11x16" in strongest
    assert all(source(page, name) != old for name, old in pictures.items())
    assert page.locator("#mesh canvas").count() == 1
    slider.press("Home")
    off = settled(page, strongest)
    assert "192 of 192" in off
    assert "0.0 mm" in off
    for suffix in ("npz", "json", "glb"):
        with page.expect_download() as download:
            page.click(f"#save-{suffix}")
        assert download.value.suggested_filename.endswith(f".{suffix}")
        assert download.value.path().stat().st_size > 1000
    own = (address, "data:", "blob:")
    assert [url for url in page.asked if not url.startswith(own)] == []


def test_the_strongest_schedule_is_faster_than_off(page):
    """As the page itself shows it. A busy machine disturbs single looks, so there are several."""
    slider = page.get_by_label("range slider for Tokens merged in each of the first 16 blocks")
    slider.focus()
    report, looks = page.inner_text(".tmu-report"), []
    for _ in range(MOST_LOOKS):
        slider.press("Home")
        report = settled(page, report)
        assert speedup(report) == pytest.approx(1, abs=0.75)  # off against itself
        slider.press("End")
        report = settled(page, report)
        merged_ms, off_ms = milliseconds(report)
        looks.append((speedup(report), merged_ms, off_ms))
        if speedup(report) > 1 and merged_ms < off_ms:
            return
    pytest.fail(f"speed-up, merged and off in ms at the strongest schedule: {looks}")


def test_a_broken_and_a_large_upload_give_a_sentence(page, tmp_path):
    first = page.inner_text(".tmu-report")
    upload = page.locator("#picture input[type=file]")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    page.click("#picture button[aria-label='Remove Image']")
    cleared = settled(page, first)
    assert "Choose a sample" in cleared
    upload.set_input_files(broken)
    told = settled(page, cleared)
    assert "cannot read broken.jpg" in told
    assert page.locator("#overlay img").count() == 0
    assert all(page.locator(f"#save-{suffix}").is_disabled() for suffix in ("npz", "json", "glb"))
    large = tmp_path / "large.jpg"
    large.write_bytes(b"x" * 2_000_000)
    page.click("#picture button[aria-label='Remove Image']")
    settled(page, told)
    upload.set_input_files(large)
    page.get_by_text(re.compile("maximum allowed size|too large")).first.wait_for()


def test_two_users_have_pictures_of_their_own(page, browser, address, tmp_path):
    first = page.inner_text(".tmu-report")
    picture = write_pictures(tmp_path, {"own.jpg": (200, 160)}) / "own.jpg"
    with browser.new_context() as context:
        other = context.new_page()
        other.set_default_timeout(LONG_MS)
        other.goto(address)
        other.wait_for_selector(".tmu-value")
        page.click("#picture button[aria-label='Remove Image']")
        cleared = settled(page, first)
        page.locator("#picture input[type=file]").set_input_files(picture)
        told = settled(page, cleared)
        assert "No hands were found" in told
        page.get_by_label("a right hand fills it").check()
        assert "right hand" in settled(page, told)
        assert "right hand" in other.inner_text(".tmu-report")
        assert source(other, "picture") != source(page, "picture")
        assert source(other, "overlay") != source(page, "overlay")


def test_the_keyboard_reaches_every_control(page):
    reached = set()
    page.locator("body").press("Tab")
    for _ in range(40):
        reached.add(page.evaluate("document.activeElement.closest('[id]')?.id || ''"))
        page.keyboard.press("Tab")
        page.wait_for_timeout(10)
    inside = page.evaluate(
        """ids => ids.map(id => document.getElementById(id)).filter(Boolean).map(
            one => one.closest('#picture, #samples, #model, #step, #mask, #where')?.id || one.id)""",
        list(reached - {""}),
    )
    assert {"picture", "samples", "step", "save-npz", "save-json", "save-glb"} <= set(inside)
    assert page.get_by_role("slider", name="range slider for Tokens merged").count() == 1
    assert page.get_by_role("status").count() >= 1
    images = page.locator("#overlay img, #merged img, #strips img").all()
    assert all(image.get_attribute("alt") for image in images)
