"""Groups over depth: frames, animations, and `scripts/draw_tokens.py`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shared_tmu.classification.crops import Crop
from shared_tmu.classification.photo_vit import PhotoViT, PhotoViTConfig, SaliencyDecoder, SaliencyNet
from shared_tmu.errors import InputError
from shared_tmu.files.checkpoints import save_safetensors
from shared_tmu.plans.plan import MergePlan
from shared_tmu.schedule import Schedule
from shared_tmu.viz import draw_depth, draw_groups, save_animation

SCRIPTS = Path(__file__).parents[3] / "scripts"
IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)


def test_each_block_shows_the_latest_plan():
    plan = MergePlan(torch.tensor([[0, 0, 1, 2]]), 3)
    frames = draw_depth(IMAGE, {1: plan}, 3, (2, 2))
    merged = draw_groups(IMAGE, plan.source_map, (2, 2), tint=0.0)
    assert np.array_equal(frames[0], IMAGE)
    assert not np.array_equal(merged, IMAGE)
    assert np.array_equal(frames[1], merged)
    assert np.array_equal(frames[2], merged)
    with pytest.raises(InputError, match="mixes all tokens"):
        draw_depth(IMAGE, {0: object()}, 1, (2, 2))


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_animations(tmp_path, name):
    save_animation(tmp_path / name, [IMAGE, 255 - IMAGE, IMAGE])
    with Image.open(tmp_path / name) as found:
        assert found.n_frames == 3
        assert found.size == (8, 8)
    with pytest.raises(InputError, match=r"\.gif or \.webp"):
        save_animation(tmp_path / "a.mp4", [IMAGE])


@pytest.mark.parametrize("end", [".gif", ".webp"])
@pytest.mark.parametrize(
    "frames",
    [
        [],
        [IMAGE, IMAGE[:4]],
        [IMAGE / 255.0],
        [IMAGE[:, :, 0]],
        [IMAGE[:, :, [0, 1, 2, 2]]],
        [IMAGE.tolist()],
    ],
    ids=["none", "sizes", "floats", "grey", "four channels", "lists"],
)
def test_what_are_no_frames_is_refused(tmp_path, end, frames):
    with pytest.raises(InputError, match="needs frames"):
        save_animation(str(tmp_path / f"a{end}"), frames)
    assert not list(tmp_path.iterdir())


def test_tokens_are_counted_with_those_in_front(monkeypatch):
    """Before the first merge, 16 patches and the class token; they were 16, and then one less than merged."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    program = runpy.run_path(str(SCRIPTS / "draw_tokens.py"))
    torch.manual_seed(0)
    vit = PhotoViT(PhotoViTConfig(24, 3, 6, position_grid=4, image_size=(56, 56))).eval()
    drawn = program["frames_of"](vit, Crop((56, 56)), IMAGE, Schedule.parse("0x1+4x2"), "tome")
    assert drawn[2] == [17, 13, 9]


def test_the_program_draws_a_sheet_and_animations(tmp_path, monkeypatch, caplog):
    torch.manual_seed(0)
    config = PhotoViTConfig(embed_dim=24, depth=3, num_heads=6, position_grid=5)
    net = SaliencyNet(PhotoViT(config), SaliencyDecoder((24, 8, 8, 4)))
    weights = {name.removeprefix("vit."): value for name, value in net.state_dict().items()}
    save_safetensors({k: v for k, v in weights.items() if "num_batches" not in k}, tmp_path / "w.safetensors")
    photos = tmp_path / "photos"
    for name in ("one.png", "two.bmp", "more/one.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGE).save(photos / name)
    (photos / "two.png").write_bytes(b"no picture")
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    main = runpy.run_path(str(SCRIPTS / "draw_tokens.py"))["main"]
    how = ["--checkpoint", str(tmp_path / "w.safetensors"), "--pictures", str(photos), "--out", str(tmp_path)]
    assert main([*how, "--r", "20x3", "--method", "tome,evit,dct", "--animation", ".gif"]) == 1
    drawn = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.gif"))
    keys = ("more/one", "one", "two_bmp")  # no two photographs with one name
    assert drawn == [f"{key}-{method}.gif" for key in keys for method in ("evit", "tome")]
    assert Image.open(tmp_path / "similarity.png").size[0] == 3 * 28 + 34 + 62
    assert Image.open(tmp_path / "tokens.jpg").size == (4 * (448 + 6) + 6, 6 * (448 + 40) + 6)
    told = caplog.text.splitlines()
    assert sum("one.png with dct" in line for line in told) == 2
    assert any("two.png" in line for line in told[-4:])
