"""`python -m shared_tmu.bench --model timm:NAME`: pictures per second, FLOPs and memory of methods."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from shared_tmu.bench.__main__ import main
from shared_tmu.classification.timed import timed_classifier
from shared_tmu.classification.timm_import import import_timm
from shared_tmu.errors import InputError
from shared_tmu.programs.results import read_records

HOW = ("--batch", "1", "--rounds", "1", "--warmup", "0", "--device", "cpu")


@pytest.fixture
def tiny(monkeypatch):
    """timm makes small models."""
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    timm = import_timm()
    create, sizes = timm.create_model, {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3}
    small = {**sizes, "num_heads": 2}
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, **{**small, **options}))


def test_methods_are_timed_in_turn_with_off_and_floor(tiny, tmp_path, capsys):
    flags = ["--r", "2x3", "--method", "tome,pitome", "--json", str(tmp_path / "lines.jsonl")]
    assert main(["--model", "timm:vit_tiny_patch16_224", *flags, *HOW]) == 0
    lines = read_records(tmp_path / "lines.jsonl")
    assert [(line["method"], line["schedule"]) for line in lines] == [
        ("tome", "off"),
        ("tome", "2x3"),
        ("pitome", "off"),
        ("pitome", "2x3"),
    ]
    off, merged, *_ = lines
    assert merged["images_per_s"] == pytest.approx(1000 / merged["latency_ms"][0])
    assert 0 < merged["gflops"] < off["gflops"]
    assert merged["gflops"] == pytest.approx(off["gflops"] / merged["flop_ideal"])
    assert (merged["tokens"], merged["tokens_kept"]) == (17, 11)
    assert merged["vertex_error_mm"] is None
    assert merged["peak_memory_mib"] > 0
    shown = capsys.readouterr().out
    assert "img/s" in shown
    assert "pitome" in shown


def test_picture_sizes(tiny):
    model = timed_classifier("timm:vit_tiny_patch16_224@48").load_model(None)
    assert model.crop.size == (48, 48)
    assert timed_classifier("vit_s_focus@28").load_model(None).crop.size == (28, 28)


@pytest.mark.parametrize("name", ["timm:vit_of_nobody", "timm:vit_tiny_patch16_224@big"])
def test_models_that_do_not_exist_are_refused(tiny, name):
    with pytest.raises(InputError):
        timed_classifier(name)


@pytest.mark.parametrize("flag", [("--profile",), ("--suite", "trial")])
def test_what_is_only_for_meshes_is_refused(tiny, capsys, flag):
    with pytest.raises(SystemExit):
        main(["--model", "timm:vit_tiny_patch16_224", *flag, *HOW])
    assert "classifier" in capsys.readouterr().err
