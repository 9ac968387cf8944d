"""Linear probes: features are kept, the fit is right, files say what they are for, and are found again."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures_folder import MODEL, TINY, make_folder, tiny_vit

from shared_tmu.classification.choosing import ClassifierChoice
from shared_tmu.classification.classifier import features_of
from shared_tmu.classification.evaluate import main as evaluate
from shared_tmu.classification.probe_file import FOLDER, ProbeFile, find_probe
from shared_tmu.classification.probe_training import fit_probe
from shared_tmu.errors import CheckpointError, InputError
from shared_tmu.programs.results import read_records

TRAIN = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "train_probe.py"))["main"]


@pytest.fixture
def how(timm, tmp_path, monkeypatch):
    create = timm.create_model
    vit = tiny_vit(timm)
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, **{**TINY, **options}))
    torch.save(vit.state_dict(), tmp_path / "tiny.pth")
    model = ("--model", MODEL, "--checkpoint", str(tmp_path / "tiny.pth"), "--num_classes", "3")
    return [*model, "--results", str(tmp_path / "results"), "--device", "cpu"]


def test_a_probe_is_trained_saved_and_evaluated(how, tmp_path, capsys):
    for split, count in (("train", 8), ("val", 4)):
        root = make_folder(tmp_path / "pets", count=count, split=split)
    probe = tmp_path / "probe.safetensors"
    assert TRAIN([*how, "--data", str(root), "--out", str(probe)]) == 0
    assert probe.stat().st_size < 2000
    assert "of the validation part are right" in capsys.readouterr().out
    run = [*how, "--data", str(root), "--probe", str(probe), "--r", "off,2x3", "--rounds", "0"]
    assert evaluate(run) == 0
    off, _ = read_records(tmp_path / "results" / f"{MODEL}-pets.jsonl")
    assert off["top1_pct"] == 100  # the colours of the classes are easy to tell


def test_features_are_computed_once(how, tmp_path, monkeypatch):
    root = make_folder(tmp_path / "pets", count=8, split="train")
    args = [*how, "--data", str(root), "--batch_size", "8", "--out", str(tmp_path / "probe.safetensors")]
    assert TRAIN([*args, "--limit", "16"]) == 0
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "features").rglob("*.npz")}
    assert TRAIN([*args, "--limit", "16"]) == 0
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "features").rglob("*.npz")}
    assert made == again


def test_a_probe_is_for_one_vit_and_size(timm, how, tmp_path):
    vit = tiny_vit(timm)
    probe = ProbeFile(torch.randn(3, 32), torch.randn(3), ("a", "b", "c"), "0" * 64, (32, 32))
    probe.save(tmp_path / "probe.safetensors")
    found = ProbeFile.load(tmp_path / "probe.safetensors")
    assert torch.equal(found.weight, probe.weight.half().float())
    assert (found.classes, found.image_size) == (probe.classes, (32, 32))
    with pytest.raises(CheckpointError, match="other weights"):
        found.require_fit(vit, (32, 32), tmp_path / "probe.safetensors")
    path, checkpoint = tmp_path / "probe.safetensors", tmp_path / "tiny.pth"
    with pytest.raises(CheckpointError, match="other weights"):
        ClassifierChoice(MODEL, checkpoint, num_classes=3, probe=path).load()
    with pytest.raises(CheckpointError, match="no linear probe"):
        ProbeFile.load(checkpoint)


def test_features_are_class_token_and_mean(timm):
    vit, img = tiny_vit(timm), torch.randn(2, 3, 32, 32)
    tokens = vit.forward_features(img)
    expected = torch.cat((tokens[:, 0], tokens[:, 1:].mean(dim=1)), dim=1)
    assert torch.equal(features_of(vit, img), expected)
    with pytest.raises(InputError, match="Conv2d gives features"):
        features_of(torch.nn.Conv2d(3, 4, 8), img)


def test_the_fit_separates_what_can_be_separated():
    draws = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = (draws.normal(size=(90, 5)) + 8 * np.eye(5)[labels]).astype(np.float32) * 100 + 7
    fitted = fit_probe(features, labels, 3)
    assert fitted.validation_pct == 100
    logits = torch.from_numpy(features) @ fitted.weight.T + fitted.bias
    assert (logits.argmax(1).numpy() == labels).all()
    with pytest.raises(InputError, match="class 3 has none"):
        fit_probe(features, labels, 4)


def test_shipped_probes_are_for_one_vit_and_found_by_set_and_size():
    probes = {path.stem: ProbeFile.load(path) for path in FOLDER.glob("*.safetensors")}
    assert {"fashion-mnist-112", "digits-112", "cifar10-112", "cifar10-224"} <= set(probes)
    assert len({probe.vit_sha256 for probe in probes.values()}) == 1
    for name, probe in probes.items():
        data, _, side = name.rpartition("-")
        assert find_probe(data, (int(side), int(side))) == FOLDER / f"{name}.safetensors"
        assert probe.image_size == (int(side), int(side))
        assert probe.weight.shape == (len(probe.classes), 768)
        assert probe.weight.isfinite().all()
        assert (FOLDER / f"{name}.safetensors").stat().st_size < 20_000
    assert probes["fashion-mnist-112"].classes[9] == "ankle boot"
