"""What the page computes and says, without a browser."""

import socket
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import trimesh

from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.page import estimate as estimates
from shared_tmu.page import handlers as reactions
from shared_tmu.page import program, texts
from shared_tmu.page.catalog import SAMPLES, Catalog
from shared_tmu.page.estimate import Ask, estimate, fitted, stacked
from shared_tmu.page.options import PageOptions, parse_options

ROOT = Path(__file__).resolve().parents[3]
REPORT, OVERLAY, MERGED, MESH, STRIPS, NPZ, JSON, GLB, FOLDERS = range(9)


def test_the_slider_goes_from_off_to_the_strongest(catalog):
    entry = catalog.entry("Toy")
    left = [entry.left(schedule) for schedule in entry.schedules]
    assert entry.schedules[0].is_off
    assert left[0] == entry.tokens == 64
    assert all(a - b == entry.layers for a, b in pairwise(left))
    assert 0 < left[-1] < 32
    for step in (-1, len(left)):
        with pytest.raises(InputError, match="it goes from 0"):
            entry.schedule(step)


def test_an_estimate_is_that_of_the_python_call(catalog, picture, tmp_path):
    entry = catalog.entry("Toy")
    shown = estimate(entry, Ask(picture, 3, "none", "left"), tmp_path)
    with entry.model.at("3x2", mask="none") as model:
        expected = model.predict(picture, [[0, 0, 160, 120]], ["left"])
        assert shown.speed.setting == model.setting
    with np.load(shown.files["npz"]) as saved:
        assert all(np.array_equal(saved[name], values) for name, values in expected.to_dict().items())
    assert shown.files["json"].read_bytes() == expected.save(tmp_path / "b.json").read_bytes()
    assert list(trimesh.load(shown.files["glb"]).geometry) == ["hand_0"]
    assert np.array_equal(shown.overlay, expected.draw(picture))
    assert np.array_equal(shown.merged, expected[0].draw_tokens(1))
    assert (shown.left, shown.tokens) == (58, 64)
    assert shown.moved_mm[0] > 0


def test_off_is_the_baseline_and_merging_changes_the_pictures(catalog, picture, tmp_path):
    entry = catalog.entry("Toy")
    off, strong = (estimate(entry, Ask(picture, step, "box", "right"), tmp_path) for step in (0, 8))
    assert off.moved_mm == (0.0,)
    assert off.speed.setting == "off"
    assert strong.moved_mm[0] > 0
    assert strong.speed.setting == "8x2-mask-box"
    assert off.merged.shape != strong.merged.shape or not np.array_equal(off.merged, strong.merged)


def test_a_picture_without_hands_gives_a_sentence(handlers, picture, monkeypatch):
    monkeypatch.setattr(estimates, "_boxes", lambda *_: ([], []))
    given = handlers.run(str(picture), "Toy", 2, "none", "find")
    assert "No hands were found" in given[REPORT]
    assert given[OVERLAY] is not None
    assert (given[MESH], given[MERGED], given[GLB]) == (None, None, None)


def test_without_a_detector_the_page_says_what_works(handlers, picture, monkeypatch):
    def missing(*_):
        raise MissingDependencyError("the detector is not installed")

    monkeypatch.setattr("shared_tmu.api.engine.Engine.detect", missing)
    told = handlers.run(str(picture), "Toy", 2, "none", "find")[REPORT]
    assert "the detector is not installed. Without it, say" in told
    assert 'role="alert"' not in handlers.run(str(picture), "Toy", 2, "none", "right")[REPORT]


@pytest.mark.parametrize(
    ("name", "content"),
    [("broken.jpg", b"no picture"), ("<b>.png", b""), ("cut.jpg", None), ("page.svg", b"<svg/>")],
)
def test_a_broken_upload_gives_a_sentence(name, content, handlers, picture):
    path = picture.parent / name
    path.write_bytes(picture.read_bytes()[:300] if content is None else content)
    given = handlers.run(str(path), "Toy", 2, "none", "right")
    assert 'role="alert"' in given[REPORT]
    assert "cannot read" in given[REPORT]
    assert "<b>" not in given[REPORT]
    assert given[OVERLAY:FOLDERS] == (None,) * 7
    assert list(handlers.folder.iterdir()) == [picture.parent]


@pytest.mark.parametrize(
    "change",
    [{"name": "Other"}, {"step": 99}, {"step": 1.5}, {"mask": "none+"}, {"mask": "?"}, {"where": "above"}],
)
def test_values_that_the_page_does_not_offer_are_refused(change, handlers, picture):
    given = {"picture": str(picture), "name": "Toy", "step": 2, "mask": "none", "where": "right", **change}
    assert 'role="alert"' in handlers.run(*given.values())[REPORT]


def test_only_uploads_and_samples_are_read(handlers, picture, tmp_path):
    """A forged request can name any file of the machine, and the overlay would show it."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(picture.read_bytes())
    (handlers.folder / "link.jpg").symlink_to(secret)
    around = handlers.folder / ".." / "secret.jpg"
    for path in (secret, around, handlers.folder / "link.jpg", "/etc/hostname", "secret.jpg", "~/secret.jpg"):
        given = handlers.run(str(path), "Toy", 2, "none", "right")
        assert "was not uploaded" in given[REPORT]
        assert given[OVERLAY:FOLDERS] == (None,) * 7
        with pytest.raises(InputError, match="was not uploaded"):
            handlers.adapt("Toy", str(path), 2)
    for path in (picture, *handlers.catalog.samples("Toy")[:1]):
        assert 'role="alert"' not in handlers.run(str(path), "Toy", 2, "none", "right")[REPORT]
    picture.unlink()  # as an hour later
    assert "deleted meanwhile" in handlers.run(str(picture), "Toy", 2, "none", "right")[REPORT]


def test_users_have_files_of_their_own_and_the_newest_stay(handlers, picture):
    asked = (str(picture), "Toy", 2, "none", "right")
    first, other = handlers.run(*asked), handlers.run(*asked)
    assert set(first[FOLDERS]).isdisjoint(other[FOLDERS])
    second = handlers.run(*asked, first[FOLDERS])
    third = handlers.run(*asked, second[FOLDERS])
    assert [Path(one[NPZ]).exists() for one in (first, second, third, other)] == [False, True, True, True]
    nothing = handlers.run(None, *asked[1:], third[FOLDERS])
    assert texts.CHOOSE in nothing[REPORT]
    reactions.remove((*nothing[FOLDERS], *other[FOLDERS]))  # as when both have left
    assert list(handlers.folder.iterdir()) == [picture.parent]


def test_another_model_keeps_the_picture_of_a_user_but_not_a_sample(handlers, picture, monkeypatch):
    own = handlers.adapt("Toy", str(picture), 99)
    assert own.picture == str(picture)
    assert own.step == own.highest
    samples = handlers.catalog.samples("Toy")
    assert handlers.adapt("Toy", None, 2).picture == str(samples[0])
    assert handlers.sample("Toy", 1) == str(samples[1])
    people = sorted((SAMPLES / "body").glob("*.jpg"))
    monkeypatch.setattr(Catalog, "names", ("Toy", "Body"))
    monkeypatch.setattr(Catalog, "samples", lambda _, name: samples if name == "Toy" else people)
    assert handlers.adapt("Toy", str(people[0]), 2).picture == str(samples[0])


def test_samples_are_our_own_renders():
    files = sorted(SAMPLES.glob("*/*"))
    assert {path.parent.name for path in files} == {"hand", "body"}
    for path in files:
        folder = "samples" if path.parent.name == "hand" else "samples_people"
        assert (ROOT / "assets" / folder / path.name).read_bytes() == path.read_bytes()


def test_pictures_are_stacked_and_made_smaller():
    small, wide = np.zeros((2, 3, 3), np.uint8), np.zeros((4, 8, 3), np.uint8)
    assert stacked([small, wide]).shape == (6, 8, 3)
    assert stacked([small, wide], 5)[:, -5:].min() == 255
    assert fitted(wide) is wide
    assert max(fitted(np.zeros((30, 4000, 3), np.uint8)).shape) == estimates.MOST_SIDE_PX


def test_only_this_machine_reaches_the_page_unless_told_otherwise():
    assert parse_options([]).host == "127.0.0.1"
    assert parse_options(["--host", "0.0.0.0"]).host == "0.0.0.0"
    for wrong in (["--port", "70000"], ["--max_mb", "0"]):
        with pytest.raises(InputError, match="was asked for"):
            parse_options(wrong)


def test_an_address_that_cannot_be_listened_on_is_a_sentence(capfd):
    with closing(program.listening(PageOptions(port=0))) as listener:
        address, port = listener.getsockname()
        assert address == "127.0.0.1"
        with pytest.raises(InputError, match="give another --port"):
            program.listening(PageOptions(port=port))
    with pytest.raises(InputError, match="cannot listen on"):
        program.listening(PageOptions(host="no such host.invalid"))
    assert isinstance(listener, socket.socket)


def test_a_model_that_is_not_installed_is_named(catalog):
    with pytest.raises(InputError, match="no model 'Other'"):
        catalog.entry("Other")
