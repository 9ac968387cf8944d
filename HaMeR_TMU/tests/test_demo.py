"""demo.py end to end: a tiny HaMeR with random weights, pictures made here, boxes from a file."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hamer import DecoderConfig, HaMeR, HaMeRConfig, ViTConfig, save_hamer
from shared_tmu.body_models.mano import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer

FOLDER = Path(__file__).resolve().parents[1]
BOXES = {
    "one.png": [{"box_xyxy": [40, 30, 90, 100], "is_right": True}],
    "two.png": [
        {"box_xyxy": [20, 50, 70, 90], "is_right": False},
        {"box_xyxy": [90, 20, 150, 100], "is_right": True},
    ],
    "three.png": [{"box_xyxy": [-10, 30, 60, 90], "is_right": False}],
}
SIZE = (180, 120)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    config = HaMeRConfig(
        backbone=ViTConfig(embed_dim=16, depth=4, num_heads=2, drop_path_rate=0.0),
        decoder=DecoderConfig(depth=1, heads=1, dim_head=8, dim=16, mlp_dim=16, context_dim=16),
    )
    model = HaMeR(config, load_mano())
    with torch.no_grad():
        model.mano_head.deccam.bias[0] += 5.0
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_hamer(model, path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in BOXES:
        coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    path = tmp_path_factory.mktemp("boxes") / "boxes.json"
    path.write_text(json.dumps(BOXES))
    return path


def flags_for(checkpoint, images, boxes, out):
    given = ("--checkpoint", checkpoint, "--img_folder", images, "--boxes", boxes, "--out_folder", out)
    return [str(x) for x in (*given, "--r", "5x4", "--device", "cpu", "--batch_size", 2)]


def run_demo(*flags):
    return importlib.import_module("demo").run([str(flag) for flag in flags])


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_everything_it_can_save(tmp_path, checkpoint, images, boxes, capsys):
    out = tmp_path / "out"
    flags = flags_for(checkpoint, images, boxes, out)
    assert run_demo(*flags, "--side_view", "--save_mesh", "--compare", "--tokens") == 0
    hands = [
        f"{key}_{index}" for key, count in (("one", 1), ("two", 2), ("three", 1)) for index in range(count)
    ]
    expected = [
        hand + end for hand in hands for end in (".png", ".obj", ".glb", "_tokens.png", "_compare.png")
    ]
    expected += [key + end for key in ("one", "two", "three") for end in (".npz", ".json", "_all.jpg")]
    assert sorted(p.name for p in out.iterdir() if not p.name.startswith(".")) == sorted(expected)
    text = capsys.readouterr().out
    assert "tokens kept" in text
    assert "172 of 192" in text
    assert "merge-only 5x4" in text
    assert text.strip().endswith(str(out))


def test_saved_parameters_pose_the_saved_mesh_on_both_hands(tmp_path, checkpoint, images, boxes):
    assert run_demo(*flags_for(checkpoint, images, boxes, tmp_path)) == 0
    saved = np.load(tmp_path / "two.npz")
    assert saved["is_right"].tolist() == [False, True]
    for index, side in enumerate(("left", "right")):
        layer = ManoLayer(load_mano(side=side))
        posed = layer(
            torch.tensor(saved["global_orient_rotmat"][index : index + 1, None]),
            torch.tensor(saved["hand_pose_rotmat"][index : index + 1]),
            torch.tensor(saved["betas"][index : index + 1]),
        )
        assert np.abs(posed.vertices[0].numpy() - saved["vertices_m"][index]).max() < 1e-5
        assert np.abs(posed.keypoints[0].numpy() - saved["joints_3d_m"][index]).max() < 1e-5
        assert np.array_equal(np.asarray(layer.faces), saved[f"faces_{side}"])
    points = (saved["joints_3d_m"] + saved["translation_m"][:, None]) @ saved["camera_matrix"].T
    assert np.abs(points[..., :2] / points[..., 2:] - saved["joints_2d_px"]).max() < 1e-3


def test_a_mirrored_photograph_gives_mirrored_results(tmp_path, checkpoint, images, boxes):
    mirrored, flipped = tmp_path / "mirrored", {}
    mirrored.mkdir()
    for name, entries in BOXES.items():
        cv2.imwrite(str(mirrored / name), cv2.imread(str(images / name))[:, ::-1])
        flipped[name] = []
        for entry in entries:
            x1, y1, x2, y2 = entry["box_xyxy"]
            box = [SIZE[0] - 1 - x2, y1, SIZE[0] - 1 - x1, y2]
            flipped[name].append({"box_xyxy": box, "is_right": not entry["is_right"]})
    flipped_boxes = tmp_path / "flipped.json"
    flipped_boxes.write_text(json.dumps(flipped))
    assert run_demo(*flags_for(checkpoint, images, boxes, tmp_path / "a")) == 0
    assert run_demo(*flags_for(checkpoint, mirrored, flipped_boxes, tmp_path / "b")) == 0
    for key in ("one", "two", "three"):
        a, b = np.load(tmp_path / "a" / f"{key}.npz"), np.load(tmp_path / "b" / f"{key}.npz")
        assert np.array_equal(a["is_right"], ~b["is_right"])
        assert np.array_equal(a["vertices_m"], b["vertices_m"] * np.float32([-1, 1, 1]))
        assert np.allclose(
            a["global_orient_axis_angle"], b["global_orient_axis_angle"] * [1, -1, -1], atol=1e-6
        )
        assert np.allclose(a["joints_2d_px"], b["joints_2d_px"] * [-1, 1] + [SIZE[0] - 1, 0], atol=0.02)


def test_killed_and_resumed_gives_the_files_of_one_clean_run(tmp_path, checkpoint, images, boxes):
    out, clean = tmp_path / "out", tmp_path / "clean"
    command = [
        sys.executable,
        "demo.py",
        *flags_for(checkpoint, images, boxes, out),
        "--save_mesh",
        "--side_view",
    ]
    process = subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert run_demo(*flags_for(checkpoint, images, boxes, out), "--save_mesh", "--side_view", "--resume") == 0
    assert run_demo(*flags_for(checkpoint, images, boxes, clean), "--save_mesh", "--side_view") == 0
    assert contents(out) == contents(clean)


def test_mediapipe_needs_no_files_and_finds_no_hands_in_noise(tmp_path, checkpoint, images, capsys):
    flags = flags_for(checkpoint, images, "", tmp_path)
    at = flags.index("--boxes")
    del flags[at : at + 2]
    assert run_demo(*flags) == 0
    assert "none found in 3 images" in capsys.readouterr().out
    assert json.loads((tmp_path / "one.json").read_text())["detector"] == "mediapipe"


def test_a_checkpoint_that_is_none_says_so(tmp_path, images, boxes, caplog):
    (tmp_path / "not.ckpt").write_bytes(b"nothing")
    assert run_demo(*flags_for(tmp_path / "not.ckpt", images, boxes, tmp_path / "out")) == 1
    assert "CheckpointError" in caplog.text
    assert not (tmp_path / "out").exists()


def test_help_from_the_command_line():
    done = subprocess.run(
        [sys.executable, "demo.py", "--help"], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    flags = """--checkpoint --img_folder --out_folder --side_view --full_frame --save_mesh --batch_size
        --rescale_factor --body_detector --file_type --r --method --no-unmerge --detector --boxes --device
        --dtype --focal --save_params --compare --tokens --resume"""
    for flag in flags.split():
        assert flag in done.stdout
