"""Each row of README's table for users is true; a row without a test here fails."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from pages import ROOT

import hamer_tmu
from shared_tmu.pictures.images import read_image

SAMPLES = ROOT / "assets" / "samples"
LEFT = SAMPLES / "synthhand_2_left.jpg"
BOX = (232.0, 200.0, 367.0, 380.0)


def rows() -> dict[str, str]:
    """What the table says for each of its rows."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("| For |")[2].partition("\n\n")[0]
    cells = [line.strip("| ").split(" | ", 1) for line in table.splitlines()[2:]]
    return dict(cells)  # type: ignore[arg-type]


def codes(row: str) -> list[str]:
    """Its pieces of code."""
    return re.findall(r"`([^`]+)`", rows()[row])


@pytest.fixture(scope="module")
def model() -> Any:
    return hamer_tmu.load(r="8x16", device="cpu")


@pytest.fixture
def run(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a piece of code of the table in a folder with the picture that it names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "street.jpg").write_bytes(LEFT.read_bytes())

    def evaluate(code: str, **names: Any) -> Any:
        return eval(code, {"hamer_tmu": hamer_tmu, "model": model, **names})

    return evaluate


def test_the_rows_are_those_that_are_tested() -> None:
    tested = {name.removeprefix("test_row_").replace("_", " ") for name in globals() if "test_row_" in name}
    assert set(rows()) == tested


def test_row_installation() -> None:
    """Which packages come along outside of the clone: `test_installed`, `check_numpy2.sh`."""
    told = tomllib.loads((ROOT / "HaMeR_TMU/pyproject.toml").read_text())["project"]["requires-python"]
    assert "Python 3.11 or 3.12; 3.13" in rows()["installation"]
    assert told == ">=3.11"
    heading = "### Python 3.13 and NumPy 2"
    assert heading in (ROOT / "PYTHON.md").read_text(encoding="utf-8").splitlines()
    assert "PYTHON.md#python-313-and-numpy-2" in rows()["installation"]


def test_row_CPU(run: Callable[..., Any]) -> None:
    (code,) = codes("CPU")
    assert "cpu" in repr(run(code))
    chosen = "cuda" if torch.cuda.is_available() else "cpu"
    assert chosen in repr(hamer_tmu.load())


def test_row_left_hands(run: Callable[..., Any], model: Any) -> None:
    (code,) = codes("left hands")
    (left,) = model.predict(LEFT)
    assert run(code, hand=left) is False
    picture = np.ascontiguousarray(read_image(LEFT).bgr[:, ::-1])
    (right,) = model.predict(picture, bgr=True)
    assert run(code, hand=right) is True
    moved_m = np.abs(left.vertices_m - right.vertices_m * [-1, 1, 1]).max()
    assert moved_m < 1e-3  # the mirror image, up to the half pixel of a crop
    for hand in (left, right):  # faces look outwards
        assert hand.mesh().apply_translation(-hand.vertices_camera_m.mean(axis=0)).volume > 0


def test_row_saving(run: Callable[..., Any], model: Any, tmp_path: Path) -> None:
    save, *suffixes = codes("saving")
    hands = model.predict(LEFT)
    assert trimesh.load(run(save, hand=hands[0])).area > 0
    for suffix in suffixes:
        assert run(save.replace(".glb", suffix), hand=hands[0]).stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.glb",
        "a.json",
        "a.npz",
        "a.obj",
        "street.jpg",
    ]


def test_row_own_boxes(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector is not used, and need not be installed."""
    monkeypatch.setattr("shared_tmu.api.engine.Engine.detect", None)
    (code,) = codes("own boxes")
    (hand,) = run(code, **dict(zip(("x1", "y1", "x2", "y2"), BOX, strict=True)))
    assert not hand.is_right
    assert hand.box_xyxy_px.tolist() == list(BOX)


def test_row_focal_length(run: Callable[..., Any], model: Any) -> None:
    (code,) = codes("focal length")
    (near,), (far,) = run(code), model.predict(LEFT, focal=2800)
    assert near.focal_px == 1400
    assert far.translation_m[2] == pytest.approx(2 * near.translation_m[2])
    assert np.array_equal(near.vertices_m, far.vertices_m)
    assert np.array_equal(near.betas, far.betas)


def test_row_video(run: Callable[..., Any], model: Any, tmp_path: Path) -> None:
    import av

    code, command = codes("video")
    picture = read_image(LEFT).bgr
    with av.open(str(tmp_path / "clip.mp4"), "w") as clip:
        stream = clip.add_stream("mpeg4", rate=10, options={"qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for _ in range(3):
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        clip.mux(stream.encode())
    frames = (picture[:, :, ::-1] for _ in range(3))
    assert [len(hands) for hands in run(code, frames=frames)] == [1, 1, 1]
    words = command.removeprefix("hamer-tmu").split()
    line = [sys.executable, "-m", "hamer_tmu", *words, "--out_folder", "out", "--device", "cpu"]
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    with np.load(tmp_path / "out" / "clip.npz") as saved:
        assert len(saved["vertices_m"]) == 3
