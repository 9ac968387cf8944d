"""What a cluster cannot do is refused before any work; what is lost on its way is asked for again."""

import pickle
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_demo import contents, run, write_boxes, write_pictures

from shared_tmu.demo import distributing
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.portion_worker import PortionWorker, with_absolute_paths


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


@pytest.fixture
def in_this_process(monkeypatch):
    """Portions are processed here; `lost` says which outcomes do not arrive, by round, portion and place."""
    lost, rounds = set(), []

    def outcomes(ray, task, portions, workers):
        worker = PortionWorker(task)
        rounds.append([portion.sources[0].name for portion in portions])
        for place, portion in enumerate(portions):
            row = {"portion": pickle.dumps(portion)}
            for index, found in enumerate(worker(row)):
                if (len(rounds), place, index) not in lost:
                    yield pickle.loads(found["outcome"])

    monkeypatch.setattr(distributing, "connected", lambda address: nullcontext())
    monkeypatch.setattr(distributing, "count_workers", lambda *given: 1)
    monkeypatch.setattr(distributing, "outcomes", outcomes)
    return SimpleNamespace(lost=lost, rounds=rounds)


def test_what_is_lost_on_its_way_is_processed_again_and_written_once(
    program, out, tmp_path, in_this_process, monkeypatch, capsys
):
    names = [f"{index:02d}.png" for index in range(10)]  # portions of four
    folder = write_pictures(tmp_path / "many", dict.fromkeys(names, (40, 30)))
    flags = ("--batch_size", 1, "--detector", "whole-image")
    assert run(program, folder, tmp_path / "local", *flags) == 0
    in_this_process.lost |= {(1, 0, 2), (1, 1, 0), (1, 1, 4), (2, 1, 0)}
    written, commit = [], OutputFolder.commit
    monkeypatch.setattr(
        OutputFolder, "commit", lambda self, key, *more: (written.append(key), commit(self, key, *more))
    )
    assert run(program, folder, out, *flags, "--engine", "ray") == 0
    assert in_this_process.rounds == [["00.png", "04.png", "08.png"], ["00.png", "04.png"], ["04.png"]]
    assert sorted(written) == [name[:2] for name in names]
    assert contents(out) == contents(tmp_path / "local")
    assert "10 of 10 images" in capsys.readouterr().out


def test_what_never_arrives_is_listed(program, out, tmp_path, in_this_process, capsys):
    names = [f"{index:02d}.png" for index in range(6)]
    folder = write_pictures(tmp_path / "many", dict.fromkeys(names, (40, 30)))
    rounds = range(1, 2 + distributing.RETRIES)
    in_this_process.lost |= {(1, 1, 1), *((later, 0, 1) for later in rounds[1:])}
    assert run(program, folder, out, "--batch_size", 1, "--detector", "whole-image", "--engine", "ray") == 1
    assert len(in_this_process.rounds) == len(rounds)
    told = capsys.readouterr().out
    assert "1 problem; everything else was processed:" in told
    assert "05.png: its worker died or failed each of 4 times" in told


def test_problems_of_finished_pictures_are_not_lost(program, out, tmp_path, in_this_process, capsys):
    names = [f"{index:02d}.png" for index in range(6)]
    folder = write_pictures(tmp_path / "many", dict.fromkeys(names, (40, 30)))
    box = {"box_xyxy": [2, 3, 38, 27], "is_right": True}
    outside = {"box_xyxy": [900, 0, 950, 9], "is_right": True}
    boxes = write_boxes(
        tmp_path / "boxes.json", {name: [box, outside][: 1 + (name == "01.png")] for name in names}
    )
    in_this_process.lost.add((1, 0, 4))  # the end of the first portion, after its images
    assert run(program, folder, out, "--batch_size", 1, "--engine", "ray", boxes=boxes) == 1
    assert in_this_process.rounds == [["00.png", "04.png"], ["00.png"]]
    assert "01.png: box 1 of the boxes file: box [900, 0, 950, 9] lies outside" in capsys.readouterr().out


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
