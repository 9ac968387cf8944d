"""What a cluster cannot do is refused before any work."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy_demo import run

from shared_tmu.demo.portion_worker import with_absolute_paths


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--engine", "ray", "--compare"), "--compare does not go with --engine ray"),
        (("--engine", "ray", "--report", "times.jsonl"), "--report does not go with --engine ray"),
        (("--engine", "ray", "--ray_address", "ray://head:10001"), "is for Ray's client"),
        (("--ray_address", "auto"), "names a cluster for --engine ray"),
    ],
)
def test_what_does_not_go_together_is_named(program, images, out, caplog, flags, message):
    assert run(program, images, out, *flags) == 1
    assert message in caplog.text
    assert not out.exists()


def test_a_video_is_not_divided(program, out, caplog, tmp_path):
    from shared_tmu.demo import main

    given = ("--video", tmp_path / "clip.mp4", "--out_folder", out, "--engine", "ray", "--r", "4x3")
    assert main(program, [str(word) for word in given]) == 1
    assert "--video does not go with --engine ray, because a clip has one order of frames" in caplog.text


def test_without_ray_the_extra_is_named(program, images, out, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(program, images, out, "--engine", "ray") == 1
    assert "pip install 'shared_tmu[ray]'" in caplog.text
    assert not out.exists()


def test_an_address_from_the_environment_is_checked_too(program, images, out, caplog, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert run(program, images, out, "--engine", "ray") == 1
    assert "ray://head:10001 is for Ray's client" in caplog.text


def test_paths_are_made_absolute_in_settings_of_settings():
    @dataclass(frozen=True)
    class Inner:
        probe: Path | None
        weight: float

    @dataclass(frozen=True)
    class Outer:
        run: Inner
        boxes: Path

    found = with_absolute_paths(Outer(Inner(Path("a"), 2.0), Path("/b")))
    assert found == Outer(Inner(Path.cwd() / "a", 2.0), Path("/b"))
    whole = Outer(Inner(None, 1.0), Path("/b"))
    assert with_absolute_paths(whole) is not None
    assert with_absolute_paths(whole) == whole
