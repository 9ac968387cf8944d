"""What a run says about its results, and when it keeps those of an earlier one."""

import hashlib
import json
import os
import re
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_demo import BOXES, ToyDemoHand, contents, run

from shared_tmu.demo import digest
from shared_tmu.demo.disk_arrays import GrowingArrays
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.options import DemoOptions, parse_options
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.detect.whole_image import WholeImageDetector
from shared_tmu.errors import InputError
from shared_tmu.models.config import ModelConfig


def piped(boxes):
    """A path from which boxes can be read once, as `<(command)` gives it."""
    end, start = os.pipe()
    os.write(start, json.dumps(boxes).encode())
    os.close(start)
    return Path(f"/dev/fd/{end}")


def test_resume_knows_boxes_that_came_through_a_pipe(program, images, out):
    assert run(program, images, out, boxes=piped(BOXES)) == 0
    first = contents(out)
    other = {**BOXES, "a.jpg": [{"box_xyxy": [40, 20, 80, 70], "is_right": True}]}
    assert run(program, images, out, "--resume", boxes=piped(other)) == 0
    assert json.loads((out / "a.json").read_text())["hands"][0]["box_xyxy_px"] == [40, 20, 80, 70]
    assert run(program, images, out, "--resume", boxes=piped(BOXES)) == 0
    assert contents(out) == first


OTHER = {
    "device": torch.device("cuda"), "dtype": torch.bfloat16, "packed": False, "body_detector": "regnety",
    "rescale_factor": 3.0, "focal_px": 1.0, "overlays": False, "side_view": True, "full_frame": False,
    "save_mesh": True, "save_params": False, "compare": True, "tokens": True,
}  # fmt: skip


@dataclass(frozen=True)
class Configured(ModelConfig):
    """A configuration with a number that changes results."""

    camera_3d_size_m: float


def test_every_option_counts_unless_it_is_named(program, tmp_path, monkeypatch):
    options, model = parse_options(program, ["--device", "cpu"]), ToyDemoHand()

    plain = WholeImageDetector()

    def made(options=options, detector=plain, model=model):
        return digest.options_digest(options, detector, model)

    left_out = {*digest.PLACES, *digest.PACE, *digest.BY_CONTENT}
    assert left_out < {field.name for field in fields(DemoOptions)}
    parts = {"run": parse_options(program, ["--device", "cpu", "--r", "4x3"]).run}
    parts["body_path"] = tmp_path / "mano.pkl"
    for field in {field.name for field in fields(DemoOptions)} - left_out:
        value = {**OTHER, **parts}.get(field, "another")
        assert made(replace(options, **{field: value})) != made(), field
    for content in (b"1", b"2"):
        parts["body_path"].write_bytes(content)
        yet = made(replace(options, body_path=parts["body_path"]))
    parts["body_path"].write_bytes(b"1")
    assert made(replace(options, body_path=parts["body_path"])) != yet  # files count by content
    learned = []
    for content in (b"1", b"2"):
        (tmp_path / "toy.dtem.safetensors").write_bytes(content)
        with_file = replace(options.run, method="dtem", learned=tmp_path / "toy.dtem.safetensors")
        learned.append(made(replace(options, run=with_file)))
        told = digest.facts_of(replace(options, run=with_file), "whole")["learned_sha256"]
        assert told == hashlib.sha256(content).hexdigest()
    assert len({*learned, made()}) == 3  # so do learned parts, and results say which
    assert made(replace(options, batch_size=1, resume=True, out_folder=tmp_path)) == made()
    other = ToyDemoHand()
    with torch.no_grad():
        other.head.bias += 1
    detectors = (BoxesDetector({}), BoxesDetector(BOXES))
    assert len({made(), made(model=other), *(made(detector=detector) for detector in detectors)}) == 4
    configured = []
    for side_m in (2.5, 3.0):  # a camera is not among the weights
        other = ToyDemoHand()
        other.config = Configured(side_m)
        configured.append(made(model=other))
    assert len({*configured, made()}) == 3


def test_images_in_which_nothing_was_found_have_no_overlays(program, images, boxes, out, capsys):
    for flags in ((), ("--resume",)):
        run(program, images, out, *flags, boxes=boxes)
        assert "Overlays of 3 of 4 images are in" in capsys.readouterr().out
    run(program, images, out, "--no-overlays", boxes=boxes)
    assert "Parameters of 4 of 4 images are in" in capsys.readouterr().out


def test_a_file_of_the_users_stops_one_image_only(program, images, boxes, out, capsys):
    """Also a folder in the place of a file."""
    (out / "a.npz").mkdir(parents=True)
    (out / "b.json").write_text("mine")
    for flags in ((), ("--resume",)):
        assert run(program, images, out, *flags, boxes=boxes) == 1
        said = capsys.readouterr().out
        assert "2 problems" in said
        assert all(f"results of {key} were not written: {name}" in said for key, name in
                   (("a", "a.npz"), ("b", "b.json")))  # fmt: skip
        assert (out / "b.json").read_text() == "mine"
        assert (out / "d_all.jpg").exists()
        assert not (out / "a_0.png").exists()


@pytest.mark.parametrize(
    ("flags", "value"), [(("--save_mesh",), float("nan")), (("--compare",), float("inf"))]
)
def test_one_hand_without_numbers_costs_one_image(
    program, images, boxes, out, monkeypatch, capsys, flags, value
):
    """Of a batch that holds hands of several images."""
    forward, means = ToyDemoHand.forward, []

    def remembering(self, batch):
        means.extend(batch["img"].mean((1, 2, 3)).tolist())
        return forward(self, batch)

    def broken(self, batch):
        output, is_bad = forward(self, batch), (batch["img"].mean((1, 2, 3)) - max(means)).abs() < 1e-4
        output["pred_vertices"] = torch.where(is_bad[:, None, None], value, output["pred_vertices"])
        return output

    monkeypatch.setattr(ToyDemoHand, "forward", remembering)
    run(program, images, out.with_name("first"), boxes=boxes)
    monkeypatch.setattr(ToyDemoHand, "forward", broken)
    assert run(program, images, out, *flags, boxes=boxes) == 1
    said = capsys.readouterr().out
    assert "1 problem;" in said
    assert "not finite for hand" in said
    assert len(list(out.glob("*.json"))) == 3
    assert "nan" not in said


@pytest.mark.parametrize("flags", [(), ("--compare", "--dtype", "bfloat16")])
def test_the_parts_of_a_run_are_all_its_time(program, images, boxes, out, capsys, flags):
    """Comparing, too: its seconds were in no line of the table."""
    began = time.perf_counter()
    assert run(program, images, out, "--draw_processes", 0, *flags, boxes=boxes) == 0
    took = time.perf_counter() - began
    said = capsys.readouterr().out
    (total,) = re.findall(r"whole run +([\d.]+) s", said)
    parts = dict(re.findall(r"^  (\w[\w ]+?)  +([\d.]+) s$", said, re.MULTILINE))
    assert sum(map(float, parts.values())) == pytest.approx(float(total), rel=0.05, abs=0.02)
    assert float(total) == pytest.approx(took, rel=0.05, abs=0.1)  # the command line is read before
    assert float(parts.get("starting and ending", 0)) < 0.5 * float(total)
    assert ("comparing" in parts) == ("--compare" in flags)
    assert "loading" in parts


def test_a_disk_that_fills_is_said_once(tmp_path):
    """Rows that still wait in memory when the run ends for it were a second error, and a traceback."""
    (tmp_path / "a.rows").symlink_to("/dev/full")

    def fill():
        with OutputFolder(tmp_path / "out", "o") as folder, GrowingArrays(tmp_path) as rows:
            rows.append({"a": np.zeros(10)})
            with folder.writing("clip"):
                rows.save(tmp_path / "a.npz", ["a"], {})

    with pytest.raises(InputError, match=r"No space left.*free some space"):
        fill()


def test_what_lies_behind_the_camera_is_a_failure_not_a_result(
    program, images, boxes, out, monkeypatch, capsys
):
    forward = ToyDemoHand.forward

    def behind(self, batch):
        output = forward(self, batch)
        return {**output, "pred_cam": output["pred_cam"] * torch.tensor([-1.0, 1.0, 1.0])}

    monkeypatch.setattr(ToyDemoHand, "forward", behind)
    assert run(program, images, out, boxes=boxes) == 1
    assert "the model put hand 0 of a.jpg behind the camera (at -" in capsys.readouterr().out
    assert sorted(name for name in contents(out) if name[0] != ".") == ["c.json", "c.npz"]
