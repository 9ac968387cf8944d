"""demo.py end to end: a tiny SMPLest-X with random weights, pictures made here, boxes from a file."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import save_tiny

from shared_tmu.body_models import load_smplx
from shared_tmu.body_models.smplx_layer import SmplxLayer

FOLDER = Path(__file__).resolve().parents[1]
BOXES = {
    "one.png": [{"box_xyxy": [40, 10, 110, 115]}],
    "two.png": [{"box_xyxy": [5, 20, 70, 110]}, {"box_xyxy": [90, 5, 150, 118]}],
}
SIZE = (180, 120)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in BOXES:
        coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture
def given(checkpoint, images, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(BOXES))
    flags = {"--checkpoint": checkpoint, "--img_folder": images, "--boxes": boxes, "--r": "5x4"}
    return {**flags, "--device": "cpu", "--batch_size": 2, "--draw_processes": 0}


def run_demo(given, out, *more):
    flags = given | {"--out_folder": out}
    return importlib.import_module("demo").run(
        [str(word) for pair in flags.items() for word in pair] + [*more]
    )


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_everything_it_can_save(tmp_path, given, capsys):
    out = tmp_path / "out"
    assert run_demo(given, out, "--side_view", "--save_mesh", "--compare", "--tokens") == 0
    people = ["one_0", "two_0", "two_1"]
    ends = (".png", ".obj", ".glb", "_tokens.png", "_compare.png")
    expected = [person + end for person in people for end in ends]
    expected += [key + end for key in ("one", "two") for end in (".npz", ".json", "_all.jpg")]
    assert sorted(p.name for p in out.iterdir() if not p.name.startswith(".")) == sorted(expected)
    text = capsys.readouterr().out
    assert "252 of 272" in text
    assert "ms per person" in text


def test_saved_parameters_pose_the_saved_mesh(tmp_path, given):
    assert run_demo(given, tmp_path / "o") == 0
    saved = np.load(tmp_path / "o" / "two.npz")
    names = {
        "global_orient": "global_orient_axis_angle", "body_pose": "body_pose_axis_angle",
        "left_hand_pose": "left_hand_pose_axis_angle", "right_hand_pose": "right_hand_pose_axis_angle",
        "jaw_pose": "jaw_pose_axis_angle", "betas": "betas", "expression": "expression",
    }  # fmt: skip
    layer = SmplxLayer(load_smplx())
    posed = layer(**{ours: torch.tensor(saved[theirs]).flatten(1) for ours, theirs in names.items()})
    assert np.abs(posed.vertices.numpy() - saved["vertices_m"]).max() < 1e-4
    assert np.abs(posed.keypoints.numpy() - saved["joints_3d_m"]).max() < 1e-4
    points = (saved["joints_3d_m"] + saved["translation_m"][:, None]) @ saved["camera_matrix"].T
    assert np.abs(points[..., :2] / points[..., 2:] - saved["joints_2d_px"]).max() < 1e-3
    facts = json.loads((tmp_path / "o" / "two.json").read_text())
    assert (facts["model"], len(facts["people"])) == ("SMPLest-X", 2)
    assert facts["fields"]["betas"]["shape"] == "[K, 10]"


def test_people_are_drawn_where_the_crops_camera_sees_them(tmp_path, given):
    """The image's camera puts key points within a pixel or two of the model's own camera."""
    assert run_demo(given, tmp_path / "o") == 0
    saved = np.load(tmp_path / "o" / "two.npz")
    for i in range(2):
        x, y, width, height = saved["crop_xywh_px"][i]
        points = saved["joints_3d_m"][i] + saved["crop_translation_m"][i]
        seen = points[:, :2] / points[:, 2:] * 5000 + (96, 128)
        pixels = seen * (width / 192, height / 256) + (x, y)
        assert np.abs(pixels - saved["joints_2d_px"][i]).max() < 2


def test_resuming_changes_nothing(tmp_path, given, capsys):
    assert run_demo(given, tmp_path / "o") == 0
    before = contents(tmp_path / "o")
    (tmp_path / "o" / "two.npz").unlink()
    assert run_demo(given, tmp_path / "o", "--resume") == 0
    assert contents(tmp_path / "o") == before
    assert "1 kept from before" in capsys.readouterr().out


def test_nobody_in_noise(tmp_path, given, capsys):
    del given["--boxes"]
    assert run_demo(given | {"--detector_dir": tmp_path}, tmp_path / "o") == 0
    assert "none found in 2 images" in capsys.readouterr().out
    assert json.loads((tmp_path / "o" / "one.json").read_text())["detector"] == "mediapipe"


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--checkpoint", "missing.pth.tar", "MissingAssetError"),
        ("--smplx_path", "SMPLX_NEUTRAL.npz", "MissingAssetError"),
        ("--r", "5x40", "this trunk has 4"),
        ("--img_folder", "nowhere", "InputError"),
    ],
)
def test_what_cannot_work_is_said_first(tmp_path, given, caplog, flag, value, message):
    value = value if flag == "--r" else str(tmp_path / value)
    assert run_demo(given | {flag: value}, tmp_path / "out") == 1
    assert message in caplog.text
    assert not (tmp_path / "out").exists()


def test_help_from_the_command_line():
    done = subprocess.run(
        [sys.executable, "demo.py", "--help"], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    for flag in [
        "--smplx_path",
        "--boxes",
        "--detector",
        "--rescale_factor",
        "--side_view",
        "--tokens",
        "--resume",
    ]:
        assert flag in done.stdout
    assert "hand" not in done.stdout.replace("--handle", "")
