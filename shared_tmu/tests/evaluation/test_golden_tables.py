"""Every golden table of the official scripts, through eval.py, from files in the official layouts."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import toy_hand_model
from official_sets import write_freihand, write_ho3d

from shared_tmu.datasets import DATASETS, DatasetSpec
from shared_tmu.datasets.ehf import read_ehf_layout
from shared_tmu.datasets.hand_files import write_hand_file
from shared_tmu.datasets.hand_rules import TIP_ROWS, TIP_VERTICES
from shared_tmu.errors import InputError
from shared_tmu.evaluation import main, parse_settings
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.metrics import BodyParts
from shared_tmu.programs.estimates import BODY
from shared_tmu.synth.body.evalset import ply_bytes

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"

_NO_FACES = np.zeros((0, 3), np.int64)


def golden(name):
    stored = json.loads((GOLDEN / f"{name}.json").read_text())
    return dict(np.load(GOLDEN / f"{name}.npz")), stored["expected"]


def evaluate(tmp_path, predictions, *flags, **more):
    """Run eval.py on a prediction file; returns its scores.json, scores.txt and per-sample errors."""

    def no_model(*paths):
        raise AssertionError("no model is needed")

    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "toy.safetensors").write_bytes(b"")
    program = toy_hand_model.program_of(tmp_path / "toy", no_model, tmp_path / "toy/toy.safetensors", **more)
    assert main(program, ["--predictions", str(predictions), "--device", "cpu", *map(str, flags)]) == 0
    (folder,) = (tmp_path / "toy" / "results").glob("*/*")
    table = json.loads((folder / "scores.json").read_text())
    return table, (folder / "scores.txt").read_text(), read_per_sample(folder)


def assert_table(got, want, path=""):
    if isinstance(want, dict):
        assert set(got) == set(want), path
        for key in want:
            assert_table(got[key], want[key], f"{path}/{key}")
        return
    tolerance = 1e-8 if "_mm" in path.rsplit("/", 1)[-1] else 1e-9
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=path)


@pytest.mark.parametrize(
    ("name", "dataset", "write", "suffix"),
    [
        ("freihand", "freihand", lambda root: write_freihand(root, 8), "json"),
        ("ho3d", "ho3d-v2", lambda root: write_ho3d(root, "v2", 8), "zip"),
    ],
)
def test_hands(name, dataset, write, suffix, tmp_path, capsys):
    arrays, expected = golden(name)
    root = write(tmp_path / "data")
    for file in ("xyz", "verts"):
        (root / f"evaluation_{file}.json").write_text(json.dumps(arrays[f"gt_{file}"].tolist()))
    predictions = tmp_path / f"pred.{suffix}"
    write_hand_file(predictions, arrays["pred_xyz"], arrays["pred_verts"])
    flags = ("--dataset", dataset, "--data_dir", tmp_path / "data")
    table, text, rows = evaluate(tmp_path, predictions, *flags)
    assert_table(table, expected)
    assert text == "".join(f"{key}: {value:f}\n" for key, value in expected["scores_txt"].items())
    want = expected["mesh_aligned"]["per_sample_mean_error_mm"]
    np.testing.assert_allclose(rows.errors["pa_mpvpe_mm"], want, atol=1e-8)
    assert "8 samples" in capsys.readouterr().out


def test_the_tips_of_a_file_are_those_that_were_asked_for(tmp_path):
    arrays, _ = golden("freihand")
    root = write_freihand(tmp_path / "data", 8)
    xyz, verts = arrays["gt_xyz"].copy(), arrays["gt_verts"]
    xyz[:, list(TIP_ROWS)] = verts[:, list(TIP_VERTICES["freihand"])]
    (root / "evaluation_xyz.json").write_text(json.dumps(xyz.tolist()))
    (root / "evaluation_verts.json").write_text(json.dumps(verts.tolist()))
    xyz[:, list(TIP_ROWS)] += 0.02
    write_hand_file(tmp_path / "pred.json", xyz, verts)
    flags = ("--dataset", "freihand", "--data_dir", tmp_path / "data", "--tips", "freihand")
    _, _, rows = evaluate(tmp_path, tmp_path / "pred.json", *flags)
    assert rows.errors["mpjpe_mm"].max() < 1e-6


def test_unaligned_errors_of_joints_relative_to_the_wrist_are_left_out(tmp_path, caplog):
    arrays, _ = golden("freihand")
    root = write_freihand(tmp_path / "data", 8)
    for file in ("xyz", "verts"):
        (root / f"evaluation_{file}.json").write_text(json.dumps(arrays[f"gt_{file}"].tolist()))
    xyz, verts = arrays["gt_xyz"], arrays["gt_verts"]
    write_hand_file(tmp_path / "pred.json", xyz - xyz[:, :1], verts)
    flags = ("--dataset", "freihand", "--data_dir", tmp_path / "data", "--columns", "all")
    _, _, rows = evaluate(tmp_path, tmp_path / "pred.json", *flags)
    assert "only aligned errors are given" in caplog.text
    assert rows.errors["pa_mpjpe_mm"].max() < 1e-4
    assert "wrist_mpvpe_mm" not in rows.errors


MODEL_FLAGS = [["--r", "8x16"], ["--method", "pitome"], ["--no-unmerge"], ["--stability", "3"]]


@pytest.mark.parametrize("flags", MODEL_FLAGS)
def test_flags_about_the_model_are_refused_with_a_file(flags, tmp_path):
    (tmp_path / "toy.safetensors").write_bytes(b"")
    program = toy_hand_model.program_of(tmp_path, None, tmp_path / "toy.safetensors")
    with pytest.raises(InputError, match=f"{flags[0].replace('no-un', 'no_un')} would change nothing"):
        parse_settings(program, ["--predictions", "pred.json", *flags])


def write_golden_hint(root, arrays, subsets):
    folder = root / "TEST_epick_img"
    folder.mkdir(parents=True)
    names = [f"{i}_{'r' if right else 'l'}.jpg" for i, right in enumerate(arrays["right"])]
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((8, 8, 3), np.uint8))
    for subset, points in subsets.items():
        lists = {"imgname": np.array(names), **{key: arrays[key] for key in ("center", "scale", "right")}}
        np.savez(root / f"TEST_epick_img_{subset}.npz", hand_keypoints_2d=points, **lists)


@pytest.mark.parametrize("is_labelled", [True, False], ids=["all joints", "joint 7 unlabelled"])
def test_hint(is_labelled, tmp_path, capsys):
    arrays, expected = golden("hint")
    subsets = {name: arrays[f"hand_keypoints_2d_{name}"].copy() for name in ("all", "vis", "occ")}
    for points in subsets.values():
        points[:, 7, 2] *= is_labelled
    write_golden_hint(tmp_path / "hint", arrays, subsets)
    sign = np.where(arrays["right"] > 0, 1.0, -1.0)[:, None, None] ** np.array((1, 0))
    side = (arrays["bbox_expand_factor"] * arrays["scale"].max(1))[:, None, None]
    pixels = arrays["pred_keypoints_2d"] * sign * side + arrays["center"][:, None]
    np.savez(tmp_path / "keypoints.npz", prediction_px=pixels)
    flags = ("--dataset", "EPICK-TEST-ALL", "--data_dir", tmp_path)
    table, _, rows = evaluate(tmp_path, tmp_path / "keypoints.npz", *flags)
    if not is_labelled:
        for threshold, want in expected["joint_7_unlabelled"]["pck"].items():
            got = table["all"]["pck"][f"{float(threshold):.2f}"]
            assert got["average"] is None
            for joint, share in want["per_joint"].items():
                assert got["per_joint"][int(joint)] == pytest.approx(share, abs=1e-9)
        assert "undefined" in capsys.readouterr().out
        return
    for name in subsets:
        for threshold, want in expected[name]["pck"].items():
            assert_table(table[name]["pck"][f"{float(threshold):.2f}"], want, name)
        for kind in ("kpl2_as_reported", "kpl2_without_pck_pass"):
            assert table[name][kind] == pytest.approx(expected[name][kind], abs=1e-9)
    assert rows.errors["hand_pck_05_all"].shape == (8,)


def test_ehf(tmp_path, monkeypatch):
    """Its meshes have 640 vertices and made-up regressors, so the set is opened with these."""
    arrays, expected = golden("ehf")
    root = tmp_path / "EHF"
    root.mkdir()
    images, boxes = [], []
    for i, vertices in enumerate(arrays["gt_verts_as_stored"]):
        cv2.imwrite(str(root / f"{i + 1:02d}_img.png"), np.zeros((8, 8, 3), np.uint8))
        mesh = ply_bytes(vertices).replace(b"float", b"double").split(b"end_header\n")[0] + b"end_header\n"
        (root / f"{i + 1:02d}_align.ply").write_bytes(mesh + vertices.astype("<f8").tobytes())
        images.append({"id": i, "file_name": f"{i + 1:02d}_img.png"})
        boxes.append({"image_id": i, "body_bbox": [0, 0, 8, 8]})
    (root / "EHF.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    parts = BodyParts(**{name: arrays[name] for name in BodyParts.__dataclass_fields__})

    def opened(data_dir, options):
        return read_ehf_layout(data_dir, "ehf", parts, _NO_FACES, arrays["gt_to_camera_rotation"], 8, {})

    monkeypatch.setattr(
        "shared_tmu.datasets.registry.DATASETS",
        {**DATASETS, "ehf": DatasetSpec("ehf", "body", (), lambda *_: None, opened)},
    )
    np.savez(tmp_path / "pred.npz", vertices_m=arrays["pred_verts_camera"])
    flags = ("--dataset", "ehf", "--data_dir", root)
    table, _, rows = evaluate(tmp_path, tmp_path / "pred.npz", *flags, estimates=BODY)
    assert set(table) == set(expected)
    for name, want in expected.items():
        np.testing.assert_allclose(table[name]["per_sample_mm"], want["per_sample_mm"], atol=1e-8)
        assert table[name]["mean_mm"] == pytest.approx(want["mean_mm"], abs=1e-8)
    np.testing.assert_allclose(
        rows.errors["pa_mpvpe_mm"], expected["pa_mpvpe_all"]["per_sample_mm"], atol=1e-8
    )


def test_what_is_refused(tmp_path, caplog):
    write_ho3d(tmp_path / "data", "v2", 1)
    program = toy_hand_model.toy_program(tmp_path / "toy")
    flags = ["--data_dir", str(tmp_path / "data"), "--predictions", str(tmp_path / "pred.zip")]
    assert main(program, [*flags, "--dataset", "ho3d-v2"]) == 1
    assert "pred.zip is not in" in caplog.text
    assert main(program, [*flags, "--dataset", "ho3d-v2", "--limit", "1"]) == 1
    assert "one --dataset" in caplog.text


def test_a_prediction_file_has_the_columns_that_are_asked_for(tmp_path, capsys):
    arrays, _ = golden("freihand")
    write_freihand(tmp_path / "data", 8)
    predictions = tmp_path / "pred.json"
    write_hand_file(predictions, arrays["pred_xyz"], arrays["pred_verts"])
    flags = ("--dataset", "freihand", "--data_dir", tmp_path / "data")
    evaluate(tmp_path, predictions, *flags, "--columns", "unaligned")
    printed = capsys.readouterr().out
    assert "wrist MPVPE mm" in printed
    assert "turned deg" in printed
    assert "PA-MPVPE" not in printed
