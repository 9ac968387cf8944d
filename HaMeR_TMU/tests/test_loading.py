"""Loading HaMeR: official containers, our own files, other models' files, and their configurations."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from cases import GOLDEN, MANO_PICKLE, case_config, case_model, check, mano_standin, run, tensors

from hamer import HaMeR, HaMeRConfig, load_hamer, save_hamer
from shared_tmu.body_models import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.checkpoints import read_checkpoint
from shared_tmu.errors import CheckpointError, ConfigError, MissingAssetError

CONTAINER = GOLDEN / "container_example.ckpt"
MICRO = {
    "image_size": 128,
    "backbone": {"img_size": [128, 64], "embed_dim": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 2},
    "decoder": {"depth": 1, "heads": 2, "mlp_dim": 32, "dim_head": 8, "dim": 32, "context_dim": 32},
}
OFFICIAL: dict[str, Any] = {
    "MODEL": {
        "IMAGE_SIZE": 256,
        "IMAGE_MEAN": [0.485, 0.456, 0.406],
        "IMAGE_STD": [0.229, 0.224, 0.225],
        "BACKBONE": {"TYPE": "vit", "PRETRAINED_WEIGHTS": "training_data/vitpose_backbone.pth"},
        "MANO_HEAD": {
            "TYPE": "transformer_decoder",
            "IN_CHANNELS": 2048,
            "TRANSFORMER_DECODER": {
                "depth": 6, "heads": 8, "mlp_dim": 1024, "dim_head": 64, "dropout": 0.0, "emb_dropout": 0.0,
                "norm": "layer", "context_dim": 1280,
            },
        },
    },
    "MANO": {"MODEL_PATH": "mano", "NUM_HAND_JOINTS": 15, "CREATE_BODY_POSE": False, "GENDER": "neutral"},
    "EXTRA": {"FOCAL_LENGTH": 5000},
    "TRAIN": {"LR": "1e-05"},
}  # fmt: skip


@pytest.fixture
def micro_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "micro.yaml"
    path.write_text(yaml.safe_dump(MICRO))
    return path


def write_small(folder: Path, state: dict[str, torch.Tensor], **extra: Any) -> Path:
    """A checkpoint in the published layout, with its configuration in our layout two folders up."""
    (folder / "checkpoints").mkdir(parents=True)
    path = folder / "checkpoints" / "hamer.ckpt"
    torch.save({"state_dict": state, "epoch": 1, **extra}, path)
    (folder / "model_config.yaml").write_text(yaml.safe_dump(case_config("small_grid").to_dict()))
    return path


def small_state() -> dict[str, torch.Tensor]:
    return tensors("small_grid.weights")


def test_official_container_loads_with_its_own_body_model(
    micro_yaml: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        model = load_hamer(CONTAINER, config_path=micro_yaml)
    assert "body model: the one in container_example.ckpt" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    state = read_checkpoint(CONTAINER)["state_dict"]
    found = model.state_dict()
    assert set(found) == set(state)
    assert all(torch.equal(found[key], state[key]) for key in state)
    assert not model.training
    assert np.array_equal(model.mano.faces, mano_standin().faces)
    assert run(model, torch.zeros(1, 3, 128, 128))["pred_vertices"].isfinite().all()


def test_a_configuration_object_inside_is_read(tmp_path: Path) -> None:
    """The container's own configuration describes no published size, and the message says so."""
    shutil.copy(CONTAINER, tmp_path / "hamer.ckpt")
    with pytest.raises(ConfigError, match=r"configuration inside .*hamer\.ckpt: MODEL\.IMAGE_SIZE is 128"):
        load_hamer(tmp_path / "hamer.ckpt")


def test_published_folders_are_understood(tmp_path: Path) -> None:
    model = load_hamer(write_small(tmp_path, small_state()), mano_path=MANO_PICKLE)
    check(run(model, tensors("small_grid.inputs0")["img"]), tensors("small_grid.baseline0"))


@pytest.mark.parametrize("place", ["hamer.yaml", "model_config.yaml", "../model_config.yaml"])
def test_configurations_are_found(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.save(small_state(), folder / "hamer.ckpt")
    (folder / place).write_text(yaml.safe_dump(case_config("small_grid").to_dict()))
    assert load_hamer(folder / "hamer.ckpt").config == case_config("small_grid")


def test_no_configuration(tmp_path: Path) -> None:
    torch.save(small_state(), tmp_path / "hamer.ckpt")
    with pytest.raises(
        ConfigError, match=r"no configuration for .*looked for .*hamer\.yaml, .*model_config\.yaml"
    ):
        load_hamer(tmp_path / "hamer.ckpt")


def test_a_given_body_model_wins(micro_yaml: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    np.savez(tmp_path / "hand.npz", **load_mano().to_dict())
    with caplog.at_level(logging.INFO):
        model = load_hamer(CONTAINER, mano_path=tmp_path / "hand.npz", config_path=micro_yaml)
    assert f"body model: {tmp_path / 'hand.npz'}" in caplog.text
    assert np.allclose(model.mano.v_template.numpy(), load_mano().v_template)


def test_without_any_body_model_the_bundled_one_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        model = load_hamer(write_small(tmp_path, small_state()))
    assert "body model: SynthHand, bundled" in caplog.text
    assert np.allclose(model.mano.v_template.numpy(), load_mano().v_template)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_saving_and_loading_our_own(tmp_path: Path, dtype: torch.dtype) -> None:
    model = case_model("small_grid")
    save_hamer(model, tmp_path / "mine.safetensors", dtype)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.safetensors", "mine.yaml"]
    stored = read_checkpoint(tmp_path / "mine.safetensors")
    assert {value.dtype for value in stored.values()} == {dtype, torch.bool}
    assert not [key for key in stored if key.startswith("mano.")]
    again = load_hamer(tmp_path / "mine.safetensors", mano_path=MANO_PICKLE)
    assert next(again.parameters()).dtype == torch.float32
    img = tensors("small_grid.inputs0")["img"]
    found, wanted = run(again, img), run(model, img)
    tolerance = 1e-2 if dtype == torch.float16 else 1e-6
    assert (found["pred_vertices"] - wanted["pred_vertices"]).abs().max() < tolerance


def test_dtype_of_the_loaded_model(tmp_path: Path) -> None:
    path = write_small(tmp_path, small_state())
    model = load_hamer(path, dtype=torch.float16)
    assert model.backbone.pos_embed.dtype == torch.float16
    assert model.mano.v_template.dtype == torch.float32
    assert load_hamer(path, dtype=torch.float64).mano.v_template.dtype == torch.float64


def test_published_yaml_describes_the_published_model(tmp_path: Path) -> None:
    path = tmp_path / "model_config.yaml"
    path.write_text(yaml.safe_dump(OFFICIAL))
    assert HaMeRConfig.from_yaml(path) == HaMeRConfig.official()


@pytest.mark.parametrize("where", ["model_config.yaml", "inside"])
def test_the_published_checkpoint_at_full_size(
    tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All 563 keys with their shapes; one number repeated stands for each weight, so the file is small."""
    mano = ManoLayer(load_mano()).state_dict()
    state = {"initialized": torch.tensor(True)}
    for line in (GOLDEN / "hamer.tsv").read_text().splitlines():
        key, shape, _ = line.split("\t")
        if shape != "scalar":
            own = mano.get(key.removeprefix("mano."))
            state[key] = torch.ones(1).expand([int(n) for n in shape.split(",")]) if own is None else own
    assert len(state) == 563
    path = tmp_path / "hamer_ckpts" / "checkpoints" / "hamer.ckpt"
    path.parent.mkdir(parents=True)
    content: dict[str, Any] = {"state_dict": state, "epoch": 40, "pytorch-lightning_version": "1.8.1"}
    if where == "inside":
        content["hyper_parameters"] = {"cfg": OFFICIAL}
    else:
        (tmp_path / "hamer_ckpts" / "model_config.yaml").write_text(yaml.safe_dump(OFFICIAL))
    torch.save(content, path)
    with caplog.at_level(logging.WARNING):
        model = load_hamer(path)
    assert caplog.text == ""
    assert model.config == HaMeRConfig.official()
    assert sum(p.numel() for p in model.backbone.parameters()) == 630_912_000
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


def test_our_yaml_round_trip(tmp_path: Path) -> None:
    config = case_config("full_grid", with_discriminator=True)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(config.to_dict()))
    assert HaMeRConfig.from_yaml(tmp_path / "x.yaml") == config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("MODEL", "BACKBONE", "TYPE"), "resnet", r"MODEL\.BACKBONE\.TYPE is 'resnet'; only 'vit'"),
        (("MODEL", "MANO_HEAD", "TRANSFORMER_INPUT"), "mean_shape", "TRANSFORMER_INPUT is 'mean_shape'"),
        (("MODEL", "MANO_HEAD", "IEF_ITERS"), 3, "IEF_ITERS is 3"),
        (("MODEL", "MANO_HEAD", "TRANSFORMER_DECODER"), None, "no section TRANSFORMER_DECODER"),
        (("MODEL", "MANO_HEAD", "TRANSFORMER_DECODER", "context_dim"), 7, "decoder reads 7 channels"),
    ],
)
def test_other_published_variants_are_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    content = yaml.safe_load(yaml.safe_dump(OFFICIAL))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ConfigError, match=message):
        HaMeRConfig.from_dict(content)


@pytest.mark.parametrize("text", ["- a list", "{unclosed", "x: !!python/object/apply:os.getcwd []", ""])
def test_yaml_that_is_no_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        HaMeRConfig.from_yaml(tmp_path / "x.yaml")


ZERO = torch.zeros(1)
OTHERS = {
    "WiLoR's": {"state_dict": {"backbone.pose_emb.weight": ZERO, "refine_net.dec_pose.weight": ZERO}},
    "SMPLest-X's": {"epoch": 7, "network": {"module.encoder.pos_embed": ZERO, "module.decoder.a": ZERO}},
    "HMR2.0's": {"state_dict": {"backbone.pos_embed": ZERO, "smpl_head.decpose.weight": ZERO}},
    "like a ViTPose": {"state_dict": {"backbone.pos_embed": ZERO, "keypoint_head.final.weight": ZERO}},
    "a plain ViT": {"model": {"cls_token": ZERO, "blocks.0.norm1.weight": ZERO}},
    "keys such as conv1": {"conv1.weight": ZERO, "fc.bias": ZERO},
    "holds no weights, only epoch": {"epoch": 3, "optimizer": {}},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_models_are_refused_by_name(tmp_path: Path, what: str) -> None:
    torch.save(OTHERS[what], tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=f"not a HaMeR checkpoint: it .*{what}.*fetch_demo_data"):
        load_hamer(tmp_path / "other.ckpt")


def test_missing_and_unexpected_keys_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = small_state()
    del state["backbone.blocks.3.attn.qkv.weight"], state["mano_head.deccam.bias"]
    with pytest.raises(
        CheckpointError, match=r"lacks .*blocks\.3\.attn\.qkv\.weight, mano_head\.deccam\.bias"
    ):
        load_hamer(write_small(tmp_path / "a", state))
    state = small_state() | {"backbone.cls_token": ZERO, "discriminator.D_conv1.bias": ZERO}
    with caplog.at_level(logging.WARNING):
        load_hamer(write_small(tmp_path / "b", state))
    assert "backbone.cls_token" in caplog.text
    assert "discriminator" not in caplog.text


def test_a_configuration_of_another_size_is_noticed(tmp_path: Path, micro_yaml: Path) -> None:
    path = write_small(tmp_path / "a", small_state())
    with pytest.raises(CheckpointError, match=r"backbone\.pos_embed \[1, 33, 64\] instead of \[1, 33, 32\]"):
        load_hamer(path, config_path=micro_yaml)


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        MissingAssetError, match=r"checkpoint hamer\.ckpt is not in .*github\.com/geopavlakos/hamer"
    ):
        load_hamer(tmp_path / "hamer.ckpt")
    with pytest.raises(MissingAssetError, match=r"nothing\.yaml is not in"):
        load_hamer(CONTAINER, config_path=tmp_path / "nothing.yaml")
    monkeypatch.setattr("hamer.loading.BUNDLED", tmp_path / "hamer_thin.safetensors")
    with pytest.raises(MissingAssetError, match="restore the file from the repository"):
        load_hamer()


def test_a_model_with_discriminator_saves_without_it(tmp_path: Path) -> None:
    model = HaMeR(case_config("small_grid", with_discriminator=True), mano_standin())
    save_hamer(model, tmp_path / "x.safetensors")
    assert not load_hamer(tmp_path / "x.safetensors").config.with_discriminator
