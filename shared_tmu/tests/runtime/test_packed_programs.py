"""eval.py and demo.py pack weights by themselves: the same numbers up to rounding, and a model given back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from freihand_folder import write_freihand
from torch import nn
from toy_demo import demo_program, write_boxes, write_pictures
from toy_demo import run as run_demo
from toy_hand_model import ToyHand, toy_program

from shared_tmu.evaluation import main
from shared_tmu.programs.results import read_records
from shared_tmu.runtime.packing import PackedLinear, pack_if_possible, pack_weights

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN")


def packed_layers(model):
    return sum(isinstance(layer, PackedLinear) for layer in model.modules())


@pytest.fixture
def calls(monkeypatch):
    """How often a packed layer was called with its packed weight."""
    counted = []
    pack = PackedLinear.pack
    monkeypatch.setattr(PackedLinear, "pack", lambda layer: counted.append(layer) or pack(layer))
    return counted


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_evaluation(dtype, tmp_path, calls):
    write_freihand(tmp_path / "data" / "freihand", count=5, size_px=56)
    model = ToyHand()
    program = toy_program(tmp_path / "toy", model)
    common = ["--dataset", "freihand", "--data_dir", str(tmp_path / "data"), "--batch_size", "3"]
    common += ["--device", "cpu", "--dtype", dtype, "--r", "off,3x2", "--rounds", "1"]
    seen = []
    for flags in ([], ["--no-packed"]):
        calls.clear()
        assert main(program, [*common, *flags]) == 0
        seen.append(len(calls))
        assert packed_layers(model) == 0
        model.float()
    records = read_records(tmp_path / "toy" / "results" / "toy-freihand.jsonl")
    assert [r["packed"] for r in records] == [True, True, False, False]
    for packed, plain in zip(records[:2], records[2:], strict=True):
        assert packed["pa_mpvpe_mm"] == pytest.approx(plain["pa_mpvpe_mm"], abs=1e-3)
    assert seen[0] > 0 == seen[1]


def test_demo(tmp_path, calls):
    program = demo_program(tmp_path / "model")
    images, boxes = write_pictures(tmp_path / "images"), write_boxes(tmp_path / "boxes.json")
    found = []
    for name, flags in (("packed", []), ("plain", ["--no-packed"])):
        calls.clear()
        out = tmp_path / name
        assert run_demo(program, images, out, "--no-overlays", *flags, boxes=boxes) == 0
        assert bool(calls) == (name == "packed")
        with np.load(out / "a.npz") as arrays:
            found.append({key: arrays[key] for key in arrays.files if arrays[key].dtype.kind == "f"})
    assert found[0].keys() == found[1].keys() != set()
    for key, values in found[0].items():
        np.testing.assert_allclose(values, found[1][key], rtol=1e-4, atol=1e-4)


def test_what_cannot_be_packed_stays_as_it_is():
    for model in (
        nn.Sequential(nn.ReLU()),
        nn.Sequential(nn.Linear(4, 4)).half(),
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).double()),
        nn.Sequential(nn.Linear(4, 4)).to("meta"),
    ):
        handle = pack_if_possible(model)
        assert handle.num_layers == packed_layers(model) == 0
        handle.remove()
    model = nn.Sequential(nn.Linear(4, 4))
    with pack_weights(model):
        assert pack_if_possible(model).num_layers == 0
        assert packed_layers(model) == 1
