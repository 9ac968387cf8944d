"""eval.py end to end: a tiny HaMeR with random weights on a tiny set in FreiHAND's layout."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hamer import DecoderConfig, HaMeR, HaMeRConfig, ViTConfig, save_hamer
from shared_tmu.body_models.mano import load_mano

FOLDER = Path(__file__).resolve().parents[1]
COUNT = 5
LINE = (
    "model", "dataset", "schedule", "method", "unmerge", "pa_mpvpe_mm", "pa_mpjpe_mm", "images_per_s",
    "speedup", "tokens_kept", "device", "dtype", "versions", "commit",
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    config = HaMeRConfig(
        backbone=ViTConfig(embed_dim=16, depth=3, num_heads=2, drop_path_rate=0.0),
        decoder=DecoderConfig(depth=1, heads=1, dim_head=8, dim=16, mlp_dim=16, context_dim=16),
    )
    model = HaMeR(config, load_mano())
    with torch.no_grad():
        model.mano_head.deccam.bias[0] += 0.9
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_hamer(model, path)
    return path


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Truth is the hand at rest, moved about; pictures are noise."""
    root = tmp_path_factory.mktemp("data") / "FreiHAND_pub_v2_eval"
    images = root / "evaluation" / "rgb"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    mano = load_mano()
    verts = np.stack([mano.v_template + np.array([0, 0, 0.6 + 0.01 * i]) for i in range(COUNT)])
    joints = np.stack([mano.J_regressor @ v for v in verts])
    xyz = np.concatenate([joints, verts[:, [744, 320, 443, 554, 671]]], axis=1)
    camera = [[480.0, 0, 112], [0, 480, 112], [0, 0, 1]]
    for i in range(COUNT):
        picture = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f"{i:08d}.jpg"), cv2.resize(picture, (224, 224)))
    for name, values in (("K", [camera] * COUNT), ("xyz", xyz.tolist()), ("verts", verts.tolist())):
        (root / f"evaluation_{name}.json").write_text(json.dumps(values))
    return root.parent


def run_eval(*flags):
    return importlib.import_module("eval").run([*map(str, flags)])


def test_schedules_methods_and_merge_only(tmp_path, checkpoint, data_dir, capsys):
    flags = ("--dataset", "FREIHAND-VAL", "--data_dir", data_dir, "--checkpoint", checkpoint, "--rounds", 1)
    flags = (*flags, "--results", tmp_path, "--batch_size", 2, "--device", "cpu")
    assert run_eval(*flags, "--r", "off,20x3,40x1+10x2", "--method", "tome,random") == 0
    assert run_eval(*flags, "--r", "20x3", "--no-unmerge") == 0
    lines = [json.loads(line) for line in (tmp_path / "hamer-freihand.jsonl").read_text().splitlines()]
    assert [(x["label"], x["tokens_kept"]) for x in lines] == [
        ("off", 192), ("20x3", 132), ("40x1+10x2", 132), ("random-20x3", 132), ("random-40x1+10x2", 132),
        ("20x3-merge-only", 132),
    ]  # fmt: skip
    for line in lines:
        assert set(LINE) <= set(line)
        assert line["model"] == "HaMeR"
        assert line["n"] == COUNT
    assert len({line["pa_mpvpe_mm"] for line in lines}) == len(lines)
    xyz, verts = json.loads((tmp_path / lines[1]["files"] / "pred.json").read_text())
    assert np.shape(xyz) == (COUNT, 21, 3)
    assert np.shape(verts) == (COUNT, 778, 3)
    assert "speed-up" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(tmp_path, checkpoint, data_dir, dtype):
    flags = ("--dataset", "freihand", "--data_dir", data_dir, "--checkpoint", checkpoint, "--rounds", 0)
    assert run_eval(*flags, "--results", tmp_path, "--device", "cpu", "--dtype", dtype, "--r", "20x3") == 0
    (line,) = (json.loads(text) for text in (tmp_path / "hamer-freihand.jsonl").read_text().splitlines())
    assert line["dtype"] == dtype


def test_a_schedule_for_more_layers_is_refused_first(tmp_path, checkpoint, data_dir, caplog):
    flags = ("--dataset", "freihand", "--data_dir", data_dir, "--checkpoint", checkpoint)
    assert run_eval(*flags, "--results", tmp_path, "--device", "cpu", "--r", "off,10x40") == 1
    assert "names 40 layers, this trunk has 3" in caplog.text
    assert not (tmp_path / "hamer-freihand.jsonl").exists()


def test_missing_data_and_weights(tmp_path, checkpoint, caplog):
    assert run_eval("--dataset", "freihand", "--data_dir", tmp_path, "--results", tmp_path) == 1
    assert "evaluation_xyz.json" in caplog.text
    (tmp_path / "not.ckpt").write_bytes(b"nothing")
    assert run_eval("--checkpoint", tmp_path / "not.ckpt", "--results", tmp_path) == 1
    assert "CheckpointError" in caplog.text


def test_help_from_the_command_line():
    done = subprocess.run(
        [sys.executable, "eval.py", "--help"], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    for flag in ("--dataset", "--data_dir", "--r", "--method", "--no-unmerge", "--checkpoint", "--mano_path"):
        assert flag in done.stdout
