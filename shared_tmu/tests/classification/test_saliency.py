"""Saliency with merging: maps, figures, contact sheet, and the program."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shared_tmu.classification.contact_sheet import SheetTile, colour, draw_sheet
from shared_tmu.classification.photo_vit import PhotoViT, PhotoViTConfig, SaliencyDecoder, SaliencyNet
from shared_tmu.classification.saliency import (
    Photograph,
    compare_maps,
    compute_maps,
    correlate,
    order_slots,
    spread,
)
from shared_tmu.evaluation.run_lists import read_runs
from shared_tmu.files.checkpoints import save_safetensors
from shared_tmu.plans.plan import MergePlan
from shared_tmu.programs.model_program import BASELINE
from shared_tmu.programs.results import read_records

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    config = PhotoViTConfig(embed_dim=24, depth=3, num_heads=6, position_grid=5)
    model = SaliencyNet(PhotoViT(config), SaliencyDecoder((24, 8, 8, 4)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.5 if parameter.ndim == 1 else 0.0, 0.3)
    return model.eval()


@pytest.fixture
def folder(tmp_path):
    draws = np.random.default_rng(0)
    place = tmp_path / "photos"
    place.mkdir()
    for name, shape in (("wide.png", (60, 90, 3)), ("high.jpg", (300, 200, 3))):
        Image.fromarray(draws.integers(0, 256, shape).astype(np.uint8)).save(place / name)
    return place


def test_photographs_keep_their_proportions(net, folder):
    one = Photograph.read(folder / "high.jpg", (224, 224))
    assert one.rgb.shape == (224, 149, 3)
    assert (one.top, one.left) == (0, 37)
    assert one.img.shape == (3, 224, 224)
    assert torch.equal(one.img[:, :, 0], one.img[:, :, 223])  # black on both sides
    assert one.part(torch.arange(224.0).expand(224, 224))[0, 0] == 37


def test_off_is_the_unmerged_map_and_merging_is_near_it(net, folder):
    photographs = [Photograph.read(path, (224, 224)) for path in sorted(folder.iterdir())]
    plain, costs = compute_maps(net, BASELINE, photographs)
    assert costs["tokens_kept"] == costs["tokens"] == 257
    assert compare_maps(plain, plain)["correlation"] == 1
    one, few = (read_runs(text, "tome", unmerge=True)[0] for text in ("1x1", "80x3"))
    little, _ = compute_maps(net, one, photographs)
    much, spent = compute_maps(net, few, photographs)
    assert spent["tokens_kept"] == 257 - 80 - 80 - 48  # at most half of 96
    assert spent["gflops"] < costs["gflops"]
    told = [compare_maps(maps, plain)["mean_error"] for maps in (little, much)]
    assert 0 < told[0] < told[1]


def test_merge_only_lays_slots_out_as_a_smaller_grid(net, folder):
    photographs = [Photograph.read(folder / "wide.png", (224, 224))]
    (run,) = read_runs("80x1", "tome", unmerge=False)
    maps, costs = compute_maps(net, run, photographs)
    assert costs["tokens_kept"] == 177
    assert maps[0].shape == photographs[0].rgb.shape[:2]
    slots = torch.arange(12.0).reshape(1, 12, 1)
    assert torch.equal(spread(slots, (3, 4)).flatten(), slots.flatten())
    assert spread(slots[:, :5], (4, 4)).shape == (1, 1, 4, 4)


def test_slots_are_put_in_the_order_of_their_first_token():
    source = torch.tensor([[2, 0, 2, -1, 1], [0, 1, 1, 2, 0]])
    plan = MergePlan(source, 3, copy_map=source.clamp_min(0))
    assert order_slots(plan).tolist() == [[2, 0, 1], [0, 1, 2]]


def test_correlation():
    draws = np.random.default_rng(0)
    a = draws.random((5, 7)).astype(np.float32)
    assert correlate(a, a) == 1
    assert correlate(a, 1 - a) == pytest.approx(-1)
    assert correlate(a, np.zeros_like(a)) == 0
    assert correlate(a, draws.random((5, 7))) == pytest.approx(
        np.corrcoef(a.ravel(), np.random.default_rng(0).random(70)[35:])[0, 1], abs=1e-5
    )


def test_contact_sheet():
    tile = SheetTile(np.full((20, 30, 3), 9, np.uint8), "a\nb")
    sheet = draw_sheet([[tile, tile], [tile]], side_px=40)
    assert sheet.shape == (2 * (20 + 6 + 34) + 6, 2 * 46 + 6, 3)
    assert (sheet == 9).all(axis=2).sum() >= 3 * 20 * 30
    assert colour(np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)).shape == (2, 3, 3)


def test_the_program_measures_draws_and_continues(net, folder, tmp_path, caplog, capsys, monkeypatch):
    weights = {name.removeprefix("vit."): value for name, value in net.state_dict().items()}
    save_safetensors({k: v for k, v in weights.items() if "num_batches" not in k}, tmp_path / "w.safetensors")
    main = runpy.run_path(str(SCRIPTS / "saliency_sheet.py"))["main"]
    how = ["--checkpoint", str(tmp_path / "w.safetensors"), "--pictures", str(folder), "--out", str(tmp_path)]
    assert main([*how, "--r", "20x3", "--method", "tome,random"]) == 0
    records = read_records(tmp_path / "saliency.jsonl")
    assert [record["label"] for record in records] == [
        "20x3",
        "20x3-restore-residual",
        "20x3-restore-sparse",
        "20x3-merge-only",
        "random-20x3",
    ]
    assert all(-1 <= record["correlation"] <= 1 for record in records)
    assert Image.open(tmp_path / "saliency.jpg").size == (6 * 230 + 6, (224 + 40) + (149 + 40) + 6)
    (folder / "broken.png").write_bytes(b"no picture")
    assert main([*how, "--r", "20x3", "--method", "tome,random"]) == 1
    assert "broken.png" in caplog.text.splitlines()[-1]
    assert read_records(tmp_path / "saliency.jsonl") == records
    assert "random-20x3" in capsys.readouterr().out
