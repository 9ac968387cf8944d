"""eval.py end to end: a tiny SMPLest-X with random weights on a tiny set in EHF's layout."""

import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from tiny import save_tiny

from shared_tmu.body_models import load_smplx
from shared_tmu.datasets import synthbody

FOLDER = Path(__file__).resolve().parents[1]
COUNT = 2
LINE = (
    "model", "dataset", "schedule", "method", "unmerge", "protect", "pa_mpvpe_mm", "pa_mpjpe_mm",
    "pa_mpvpe_hand_mm", "pa_mpvpe_face_mm", "mpvpe_mm", "images_per_s", "speedup", "tokens_kept", "device",
    "dtype", "versions", "commit", "bbox_ratio", "boxes", "parts",
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny.safetensors", depth=3)


@pytest.fixture(scope="module")
def smplx_path(tmp_path_factory):
    """The bundled person under the official name."""
    path = tmp_path_factory.mktemp("smplx") / "SMPLX_NEUTRAL.npz"
    np.savez(path, **load_smplx().to_dict())
    return path


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Truth is the person at rest, moved about; pictures are noise."""
    root = tmp_path_factory.mktemp("data") / "EHF"
    root.mkdir()
    rng = np.random.default_rng(0)
    body = load_smplx()
    images, annotations = [], []
    for i in range(COUNT):
        name = f"{i + 1:02d}_img.jpg"
        picture = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
        cv2.imwrite(str(root / name), cv2.resize(picture, (200, 240)))
        mesh = trimesh.Trimesh(body.v_template * (1 + 0.05 * i), body.faces, process=False)
        (root / f"{i + 1:02d}_align.ply").write_bytes(mesh.export(file_type="ply"))
        images.append({"id": i, "file_name": name, "height": 240, "width": 200})
        annotations.append({"id": i, "image_id": i, "body_bbox": [40, 10, 120, 220]})
    (root / "EHF.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    regressor = np.asarray(body.J_regressor[:14], np.float64)
    (root / "SMPLX_to_J14.pkl").write_bytes(pickle.dumps(regressor, protocol=2))
    hands = {f"{side}_hand": np.arange(778) + i for i, side in enumerate(("left", "right"))}
    (root / "MANO_SMPLX_vertex_ids.pkl").write_bytes(pickle.dumps(hands, protocol=2))
    np.save(root / "SMPL-X__FLAME_vertex_ids.npy", np.arange(5023))
    return root.parent


@pytest.fixture
def given(checkpoint, data_dir, smplx_path, tmp_path):
    flags = ("--dataset", "ehf", "--data_dir", data_dir, "--checkpoint", checkpoint)
    return (*flags, "--smplx_path", smplx_path, "--results", tmp_path, "--device", "cpu")


def run_eval(*flags):
    return importlib.import_module("eval").run([*map(str, flags)])


def lines_of(folder, dataset="ehf"):
    return [json.loads(text) for text in (folder / f"smplest-x-{dataset}.jsonl").read_text().splitlines()]


def test_schedules_controls_and_published_protection(tmp_path, given, capsys):
    assert (
        run_eval(*given, "--rounds", 1, "--batch_size", 2, "--r", "off,20x3", "--protect", "first,last") == 0
    )
    assert run_eval(*given, "--rounds", 0, "--r", "20x3", "--no-unmerge") == 0
    lines = lines_of(tmp_path)
    kept = [(line["label"], line["tokens_kept"]) for line in lines]
    assert kept == [("off", 272), ("20x3", 212), ("20x3-protect-last", 212), ("20x3-merge-only", 212)]
    for line in lines:
        assert set(LINE) <= set(line)
        assert (line["model"], line["n"], line["n_official"]) == ("SMPLest-X", COUNT, 100)
        assert (line["parts"], line["boxes"]) == ("official", "EHF.json")
    assert len({line["pa_mpvpe_mm"] for line in lines}) == len(lines)
    folder = tmp_path / lines[1]["files"]
    assert np.load(folder / "pred.npz")["smplx_body_pose"].shape == (COUNT, 63)
    per_sample = np.load(folder / "per_sample.npz")
    assert per_sample["pa_mpvpe_all_mm"].mean() == pytest.approx(lines[1]["pa_mpvpe_mm"], abs=1e-9)
    assert "PA hands" in capsys.readouterr().out


def test_synthbody_is_the_default_and_takes_the_same_path(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(synthbody, "OFFICIAL_COUNT", 2)
    monkeypatch.setenv("SHARED_TMU_CACHE", str(tmp_path / "cache"))
    flags = ("--checkpoint", checkpoint, "--results", tmp_path, "--device", "cpu", "--rounds", 0)
    assert run_eval(*flags, "--r", "20x3") == 0
    (line,) = lines_of(tmp_path, "synthbody")
    assert (line["n"], line["parts"]) == (2, "by skinning weights")
    assert line["pa_mpvpe_mm"] > 0
    assert run_eval(*flags, "--r", "20x3", "--smplx_path", tmp_path) == 1  # other vertices


def test_what_is_missing_is_said(tmp_path, given, caplog):
    assert run_eval(*given, "--r", "10x40") == 1
    assert "names 40 layers, this trunk has 3" in caplog.text
    assert run_eval(*given, "--data_dir", tmp_path) == 1
    assert "01_align.ply" in caplog.text
    (tmp_path / "not.pth.tar").write_bytes(b"nothing")
    assert run_eval(*given, "--checkpoint", tmp_path / "not.pth.tar") == 1
    assert "CheckpointError" in caplog.text


def test_help_from_the_command_line():
    done = subprocess.run(
        [sys.executable, "eval.py", "--help"], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    for flag in [
        "--dataset",
        "--data_dir",
        "--r",
        "--method",
        "--no-unmerge",
        "--protect",
        "--checkpoint",
        "--smplx_path",
    ]:
        assert flag in done.stdout
    assert "--tips" not in done.stdout
