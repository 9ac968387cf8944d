"""`scripts/eval_classification.py`: any timm model on folders, resumed, bad pictures told, every method."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from pictures_folder import MODEL, TINY, make_folder, make_idx, tiny_vit

import shared_tmu
from shared_tmu.classification.choosing import ClassifierChoice, crop_of_timm
from shared_tmu.classification.evaluate import main
from shared_tmu.classification.sources import find_source
from shared_tmu.errors import CheckpointError, InputError
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.methods import METHODS
from shared_tmu.programs.results import read_records


@pytest.fixture
def tiny(timm, tmp_path, monkeypatch):
    """The flags for a tiny model of timm, whose checkpoint is as training programs write it."""
    vit = tiny_vit(timm)
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, **{**TINY, **options}))
    torch.save({"model": {f"module.{k}": v for k, v in vit.state_dict().items()}}, tmp_path / "tiny.pth")
    how = (
        "--checkpoint",
        str(tmp_path / "tiny.pth"),
        "--num_classes",
        "3",
        "--rounds",
        "0",
        "--device",
        "cpu",
    )
    return ("--model", MODEL, *how, "--results", str(tmp_path / "results"))


def lines(tmp_path, data="pets"):
    return read_records(tmp_path / "results" / f"{MODEL}-{data}.jsonl")


def test_scores_are_those_of_the_model(timm, tiny, tmp_path, capsys):
    root = make_folder(tmp_path / "pets")
    assert main([*tiny, "--data", str(root), "--r", "off,2x3"]) == 0
    off, merged = lines(tmp_path)
    data = find_source(str(root), "test").labelled(crop_of_timm(timm, tiny_vit(timm)), 3)
    vit = tiny_vit(timm)
    img = torch.stack([data.load(k)["img"] for k in range(len(data))])
    label = torch.tensor(data.labels)
    with torch.inference_mode():
        for record, run in ((off, "off"), (merged, "2x3")):
            with shared_tmu.patch(vit, run):
                logits = vit(img)
            right = (logits.argmax(1) == label).float().mean()
            assert record["top1_pct"] == pytest.approx(100 * float(right))
            assert record["top5_pct"] == 100  # there are three classes
            loss = torch.nn.functional.cross_entropy(logits, label)
            assert record["nll"] == pytest.approx(float(loss), rel=1e-4)
    assert (merged["tokens"], merged["tokens_kept"]) == (17, 11)
    assert merged["gflops"] < off["gflops"]
    assert set(merged["minus_off_interval_95"]) == {"top1_pct", "top5_pct", "nll"}
    rows = read_per_sample(tmp_path / "results" / merged["files"])
    assert rows.samples == data.sample_ids
    assert "top-1 %" in capsys.readouterr().out


def test_what_is_finished_is_kept(tiny, tmp_path, capsys):
    root = make_folder(tmp_path / "pets", count=2)
    assert main([*tiny, "--data", str(root), "--r", "off"]) == 0
    assert main([*tiny, "--data", str(root), "--r", "off,4x2", "--method", "tome,random"]) == 0
    assert [record["label"] for record in lines(tmp_path)] == ["off", "4x2", "random-4x2"]
    assert "1 of 3 rows are from an earlier run" in capsys.readouterr().out


def test_a_picture_that_cannot_be_read_is_told_and_the_rest_is_scored(tiny, tmp_path, caplog):
    root = make_folder(tmp_path / "pets", count=3)
    assert main([*tiny, "--data", str(root), "--r", "off"]) == 0
    (whole,) = lines(tmp_path)
    rows = read_per_sample(tmp_path / "results" / whole["files"])
    (root / "val" / "dog" / "1.png").write_bytes(b"no picture")
    for _ in range(2):  # also when the result is there already
        caplog.clear()
        assert main([*tiny, "--data", str(root), "--r", "off"]) == 1
        assert "dog/1.png" in caplog.text.splitlines()[-1]
    record = lines(tmp_path)[-1]
    assert (record["n"], record["unread"]) == (9, 1)
    others = np.array([name != "dog/1.png" for name in rows.samples])
    assert record["top1_pct"] == pytest.approx(float(rows.errors["top1_pct"][others].mean()))


def test_every_method_runs_and_what_cannot_is_named(tiny, tmp_path, caplog):
    root = make_folder(tmp_path / "pets", count=1)
    assert main([*tiny, "--data", str(root), "--r", "off,2x3", "--method", "all"]) == 0
    labels = {record["label"] for record in lines(tmp_path)}
    assert {"off", "2x3"} <= labels
    assert labels == {"off", "2x3", *(f"{name}-2x3" for name in METHODS if name not in ("tome", "ltmp"))}
    assert "Left out: ltmp" in caplog.text


def test_options_of_merging(tiny, tmp_path, caplog):
    root = make_folder(tmp_path / "pets", count=1)
    uneven = ("--r", "threshold:0.9x3", "--method", "all", "--no-unmerge")
    assert main([*tiny, "--data", str(root), *uneven]) == 1
    assert "Left out: ltmp (--no-unmerge with --r threshold:0.9x3: images keep different" in caplog.text
    assert main([*tiny, "--data", str(root), "--r", "4x2", "--restore", "copy,residual"]) == 0
    assert main([*tiny, "--data", str(root), "--r", "4x2,total:6^2", "--no-unmerge"]) == 0
    assert [record["label"] for record in lines(tmp_path)] == [
        "4x2",
        "4x2-restore-residual",
        "4x2-merge-only",
        "total:6^2-merge-only",
    ]


def test_idx_files_and_other_number_formats(tiny, tmp_path):
    folder = make_idx(tmp_path / "fashion")
    more = ("--dtype", "bfloat16", "--limit", "6", "--rounds", "1")
    assert main([*tiny, "--data", str(folder), "--r", "off,2x3", *more]) == 0
    off, merged = lines(tmp_path, "fashion")
    assert off["n"] == 6
    assert off["images_per_s"] > 0
    assert merged["dtype_error"]["mean"] > 0


def test_weights_must_be_named_and_fit(timm, tiny, tmp_path):
    with pytest.raises(InputError, match="not named"):
        ClassifierChoice(MODEL).load()
    with pytest.raises(InputError, match="no model 'vit_of_nobody'"):
        ClassifierChoice("vit_of_nobody").load()
    with pytest.raises(CheckpointError, match="does not fit"):
        ClassifierChoice(MODEL, tmp_path / "tiny.pth", num_classes=7).load()


def test_weights_under_a_prefix_are_found(timm, tiny, tmp_path):
    """As Lightning saves them, beside weights of other modules."""
    vit = tiny_vit(timm)
    inside = {f"net.vit.{name}": value for name, value in vit.state_dict().items()}
    torch.save({"state_dict": {**inside, "loss.weight": torch.ones(3)}}, tmp_path / "own.ckpt")
    model, _ = ClassifierChoice(MODEL, tmp_path / "own.ckpt", num_classes=3).load()
    assert torch.equal(model.vit.head.weight, vit.head.weight)
    del inside["net.vit.norm.weight"]
    torch.save({"state_dict": inside}, tmp_path / "part.ckpt")
    with pytest.raises(CheckpointError, match="does not fit"):
        ClassifierChoice(MODEL, tmp_path / "part.ckpt", num_classes=3).load()


def test_models_that_timm_cannot_make_are_told(timm, tmp_path, monkeypatch):
    def create(name, **options):
        raise AssertionError("image size must be a multiple")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(InputError, match=r"cannot be made with .*'img_size': 50.*must be a multiple"):
        ClassifierChoice(MODEL, tmp_path / "tiny.pth", image_size=50).load()


def test_pictures_smaller_than_a_patch_are_refused(tiny, tmp_path):
    with pytest.raises(InputError, match="--img_size 7 is less than a patch"):
        ClassifierChoice(MODEL, tmp_path / "tiny.pth", image_size=7, num_classes=3).load()


def test_without_a_head_a_probe_is_needed(timm, tiny, tmp_path):
    vit = tiny_vit(timm, num_classes=0)
    torch.save(vit.state_dict(), tmp_path / "features.pth")
    with pytest.raises(InputError, match="no classes of its own"):
        ClassifierChoice(MODEL, tmp_path / "features.pth", num_classes=0).load("pets")
    assert ClassifierChoice(MODEL, tmp_path / "features.pth", num_classes=0).load_vit()[0].num_classes == 0


def test_names_that_are_no_text_are_scored_too(tiny, tmp_path):
    root = make_folder(tmp_path / "pets", count=1)
    picture = root / "val" / "dog" / "0.png"
    picture.rename(picture.with_name(os.fsdecode(b"\xff,\n.png")))
    assert main([*tiny, "--data", str(root), "--r", "off"]) == 0
    (record,) = lines(tmp_path)
    rows = read_per_sample(tmp_path / "results" / record["files"])
    assert rows.samples[1] == "dog/\\xff,\n.png"


def test_another_picture_size_resizes_position_embeddings(tiny, tmp_path):
    model, _ = ClassifierChoice(MODEL, tmp_path / "tiny.pth", image_size=48, num_classes=3).load()
    assert model.crop.size == (48, 48)
    assert model({"img": torch.randn(1, 3, 48, 48)})["logits"].shape == (1, 3)


def test_a_wrong_command_line_is_one_sentence(tiny, tmp_path, caplog):
    assert main([*tiny, "--data", str(tmp_path / "absent")]) == 1
    assert "is no folder" in caplog.text
    assert main([*tiny, "--data", str(make_folder(tmp_path / "pets")), "--crop_pct", "7"]) == 1
    assert "from 0.1 to 1" in caplog.text
