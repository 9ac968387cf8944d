"""Loading SMPLest-X: the official container, our own files, other models' files, and configurations."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from cases import GOLDEN, PREFIX, body_standin, case_config, case_model, case_weights, check, run, tensors

from shared_tmu.checkpoints import read_checkpoint
from shared_tmu.errors import CheckpointError, ConfigError, MissingAssetError
from smplest_x import SMPLestX, SMPLestXConfig, load_smplest_x, save_smplest_x

CONTAINER = GOLDEN / "container_example.pth.tar"
MICRO = {
    "encoder": {"img_size": [128, 64], "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_ratio": 2},
    "decoder": {
        "depth": 1, "heads": 2, "dim_head": 4, "dim": 16, "context_dim": 16, "mlp_dim": 16, "dim_out": 2,
    },
}  # fmt: skip
ZERO = torch.zeros(1)


@pytest.fixture(scope="module")
def body_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("body") / "SMPLX_NEUTRAL.npz"
    np.savez(path, **body_standin().to_dict())
    return path


@pytest.fixture
def micro_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "micro.yaml"
    path.write_text(yaml.safe_dump(MICRO))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_small(tmp_path, case_weights("small_grid"))


def write_small(folder: Path, weights: dict[str, torch.Tensor], prefix: str = PREFIX, **extra: Any) -> Path:
    """A checkpoint in the published layout, with its sizes beside it."""
    folder.mkdir(exist_ok=True)
    path = folder / "small.pth.tar"
    network = {prefix + key: value for key, value in weights.items()}
    torch.save({"epoch": 3, "network": network, "optimizer": {"state": {}, "param_groups": []}} | extra, path)
    (folder / "small.pth.yaml").write_text(yaml.safe_dump(case_config("small_grid").to_dict()))
    return path


def same_as_recorded(model: SMPLestX) -> None:
    wanted = tensors("small_grid.baseline0")
    check(
        run(model, tensors("small_grid.inputs0")["img"]), wanted, {"features", "cam_trans", "smplx_body_pose"}
    )


def test_official_container(micro_yaml: Path, body_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model = load_smplest_x(CONTAINER, body_path, micro_yaml)
    assert f"body model: {body_path}" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    state = read_checkpoint(CONTAINER)["network"]
    found = model.state_dict()
    assert len(state) == 62
    assert all(torch.equal(found[key.removeprefix(PREFIX)], value) for key, value in state.items())
    assert not model.training
    out = model({"img": torch.zeros(1, 3, 128, 64)})
    assert out["smplx_mesh_cam"].shape == (1, 10475, 3)
    assert all(value.isfinite().all() for value in out.values())


def test_sizes_are_found_beside_the_checkpoint(small: Path, body_path: Path) -> None:
    model = load_smplest_x(small, body_path)
    assert model.config == case_config("small_grid")
    same_as_recorded(model)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_with_and_without_the_wrapper(tmp_path: Path, body_path: Path, prefix: str) -> None:
    same_as_recorded(load_smplest_x(write_small(tmp_path, case_weights("small_grid"), prefix), body_path))


def test_old_names_and_a_body_model_inside(
    tmp_path: Path, body_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = {
        key.replace("encoder.", "backbone.", 1) if key.startswith("encoder.") else key: value
        for key, value in case_weights("small_grid").items()
    }
    weights["smplx_layer.v_template"] = torch.full((10475, 3), 9.0)
    model = load_smplest_x(write_small(tmp_path, weights), body_path)
    same_as_recorded(model)
    assert model.smplx_layer.v_template.max() < 9
    assert caplog.text == ""


def test_weights_alone(tmp_path: Path, body_path: Path) -> None:
    torch.save(case_weights("small_grid"), tmp_path / "weights.pth")
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump(case_config("small_grid").to_dict()))
    same_as_recorded(load_smplest_x(tmp_path / "weights.pth", body_path))


def resident_mib(kind: str) -> float:
    """Memory of this process that lies in physical memory: of files (`RssFile`) or its own (`RssAnon`)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    raise LookupError(kind)


def test_the_optimizer_is_never_read(tmp_path: Path, body_path: Path) -> None:
    """A file with 256 MiB of moments costs neither memory of our own nor pages of the file."""
    moments = {"exp_avg": torch.ones(1 << 25), "exp_avg_sq": torch.ones(1 << 25), "step": torch.tensor(3.0)}
    path = write_small(tmp_path, case_weights("small_grid"), optimizer={"state": {0: moments}})
    load_smplest_x(path, body_path)  # warm up
    del moments
    before = {kind: resident_mib(kind) for kind in ("RssFile", "RssAnon")}
    content = read_checkpoint(path)
    model = load_smplest_x(path, body_path)
    grown = {kind: resident_mib(kind) - before[kind] for kind in before}
    assert grown["RssFile"] < 32, grown
    assert grown["RssAnon"] < 128, grown  # the body model
    assert content["optimizer"]["state"][0]["exp_avg"].shape == (1 << 25,)
    same_as_recorded(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_saving_and_loading_our_own(tmp_path: Path, body_path: Path, dtype: torch.dtype) -> None:
    model = case_model("small_grid")
    save_smplest_x(model, tmp_path / "mine.safetensors", dtype)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.safetensors", "mine.yaml"]
    stored = read_checkpoint(tmp_path / "mine.safetensors")
    assert {value.dtype for value in stored.values()} == {dtype}
    assert not [key for key in stored if key.startswith("smplx_layer.")]
    again = load_smplest_x(tmp_path / "mine.safetensors", body_path)
    assert next(again.parameters()).dtype == torch.float32
    img = tensors("small_grid.inputs0")["img"]
    found, wanted = run(again, img), run(model, img)
    tolerance = 3e-2 if dtype == torch.float16 else 1e-5
    assert (found["smplx_body_pose"] - wanted["smplx_body_pose"]).abs().max() < tolerance


def test_dtype_of_the_loaded_model(small: Path, body_path: Path) -> None:
    model = load_smplest_x(small, body_path, dtype=torch.float16)
    assert model.encoder.pos_embed.dtype == torch.float16
    assert model.smplx_layer.v_template.dtype == torch.float32


def test_the_published_checkpoint_at_full_size(
    tmp_path: Path, body_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All 519 keys with their shapes; one number repeated stands for each weight, so the file is small."""
    network = {}
    for line in (GOLDEN / "smplest_x.tsv").read_text().splitlines():
        key, shape, _ = line.split("\t")
        network[key] = torch.ones(1).expand([int(n) for n in shape.split(",")])
    path = tmp_path / "smplest_x_h.pth.tar"
    torch.save({"epoch": 5, "network": network, "optimizer": {"state": {}, "param_groups": []}}, path)
    with caplog.at_level(logging.WARNING):
        model = load_smplest_x(path, body_path)
    assert caplog.text == ""
    assert model.config == SMPLestXConfig.official()
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


def test_our_yaml_round_trip(tmp_path: Path) -> None:
    config = case_config("full_grid", bbox_ratio=1.25)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(config.to_dict()))
    assert SMPLestXConfig.from_yaml(tmp_path / "x.yaml") == config


OTHERS = {
    "HaMeR's": {"state_dict": {"backbone.pos_embed": ZERO, "mano_head.decpose.weight": ZERO}},
    "WiLoR's": {"state_dict": {"backbone.pose_emb.weight": ZERO, "refine_net.dec_pose.weight": ZERO}},
    "HMR2.0's": {"state_dict": {"backbone.pos_embed": ZERO, "smpl_head.decpose.weight": ZERO}},
    "like a ViTPose": {"state_dict": {"backbone.pos_embed": ZERO, "keypoint_head.final.weight": ZERO}},
    "a plain ViT": {"model": {"cls_token": ZERO, "blocks.0.norm1.weight": ZERO}},
    "keys such as conv1": {"conv1.weight": ZERO, "fc.bias": ZERO},
    "holds no weights, only epoch": {"epoch": 3, "optimizer": {}},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_models_are_refused_by_name(tmp_path: Path, what: str) -> None:
    torch.save(OTHERS[what], tmp_path / "other.pth.tar")
    with pytest.raises(CheckpointError, match=f"not a SMPLest-X checkpoint: it .*{what}.*SMPLCap"):
        load_smplest_x(tmp_path / "other.pth.tar")


def test_missing_and_unexpected_keys_are_named(
    tmp_path: Path, body_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = case_weights("small_grid")
    del weights["encoder.blocks.3.attn.qkv.weight"], weights["decoder.dec_body_cam.bias"]
    named = r"lacks .*encoder\.blocks\.3\.attn\.qkv\.weight, decoder\.dec_body_cam\.bias"
    with pytest.raises(CheckpointError, match=named):
        load_smplest_x(write_small(tmp_path / "a", weights), body_path)
    weights = case_weights("small_grid") | {"encoder.cls_token": ZERO}
    with caplog.at_level(logging.WARNING):
        load_smplest_x(write_small(tmp_path / "b", weights), body_path)
    assert "encoder.cls_token" in caplog.text


def test_another_size_is_noticed(small: Path, body_path: Path, micro_yaml: Path) -> None:
    with pytest.raises(CheckpointError, match=r"task_tokens \[1, 80, 64\] instead of \[1, 80, 16\]"):
        load_smplest_x(small, body_path, micro_yaml)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoder": {"embed_dim": 64}},
            "decoder reads 1280 channels into queries of 1280, the encoder has 64",
        ),
        ({"decoder": {"dim_out": 0}}, "dim_out must be at least 1"),
        ({"crop_scale": 0}, "must be positive"),
        ({"bbox_ratio": "wide"}, "bbox_ratio should be like 1.2"),
        ({"model": "hamer"}, "describes a 'hamer'; SMPLest-X needs 'smplest_x'"),
        ({"backbone": {}}, r"has no \['backbone'\]; it has"),
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SMPLestXConfig.from_dict(change)


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"smplest_x_h\.pth\.tar is not in .*SMPLCap/SMPLest-X"):
        load_smplest_x(tmp_path / "smplest_x_h.pth.tar")
    with pytest.raises(MissingAssetError, match=r"nothing\.yaml is not in"):
        load_smplest_x(small, config_path=tmp_path / "nothing.yaml")
    with pytest.raises(MissingAssetError, match=r"SMPLX_NEUTRAL\.npz is not in .*smpl-x\.is\.tue"):
        load_smplest_x(small, tmp_path)
    monkeypatch.setattr("smplest_x.loading.BUNDLED", tmp_path / "smplest_x_thin.safetensors")
    with pytest.raises(MissingAssetError, match="restore the file from the repository"):
        load_smplest_x()
