"""The model against recorded outputs of the published one, alone and with tokens merged."""

import torch
from folder import FOLDER
from suites.folders import check
from suites.golden import GoldenSuite


class TestGolden(GoldenSuite):
    folder = FOLDER


def test_the_raw_pose() -> None:
    model = FOLDER.case_model("small_grid")
    with torch.no_grad():
        pose, _, _ = model.mano_head.decode(model.encode(FOLDER.tensors("small_grid.inputs0")["img"]))
    check({"pose_6d": pose}, FOLDER.tensors("small_grid.baseline0"))


def test_the_head_reads_maps_and_shorter_sequences() -> None:
    model = FOLDER.case_model("small_grid")
    tokens = model.encode(FOLDER.tensors("small_grid.inputs0")["img"])
    rows, columns = model.config.backbone.grid
    as_map = tokens.transpose(1, 2).unflatten(2, (rows, columns))
    assert torch.equal(model.predict(as_map)["pred_cam"], model.predict(tokens)["pred_cam"])
    assert model.predict(tokens[:, :7])["pred_vertices"].shape == (3, 778, 3)
