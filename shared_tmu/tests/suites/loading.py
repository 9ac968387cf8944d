"""Loading models: published containers, our own files, other models' files, and their configurations."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from shared_tmu.errors import CheckpointError, ConfigError, MissingAssetError

from .folders import check
from .saving import SavingSuite

ZERO = torch.zeros(1)
OTHERS = {
    "WiLoR's": {"state_dict": {"backbone.pose_emb.weight": ZERO, "refine_net.dec_pose.weight": ZERO}},
    "HaMeR's": {"state_dict": {"backbone.pos_embed": ZERO, "mano_head.decpose.weight": ZERO}},
    "SMPLest-X's": {"epoch": 7, "network": {"module.encoder.pos_embed": ZERO, "module.decoder.a": ZERO}},
    "HMR2.0's": {"state_dict": {"backbone.pos_embed": ZERO, "smpl_head.decpose.weight": ZERO}},
    "like a ViTPose": {"state_dict": {"backbone.pos_embed": ZERO, "keypoint_head.final.weight": ZERO}},
    "a plain ViT": {"model": {"cls_token": ZERO, "blocks.0.norm1.weight": ZERO}},
    "keys such as conv1": {"conv1.weight": ZERO, "fc.bias": ZERO},
    "holds no weights, only epoch": {"epoch": 3, "optimizer": {}},
}


class LoadingSuite(SavingSuite):
    """`load_...` and `save_...` of a folder."""

    def micro_yaml(self, folder: Path) -> Path:
        """The sizes of a model 32 wide, 128x64."""
        path = folder / "micro.yaml"
        path.write_text(yaml.safe_dump(self.folder.sized(32, 128, 64).to_dict()))
        return path

    def assert_recorded(self, model: Any) -> None:
        """The model is the one of `small_grid`."""
        img = self.folder.tensors("small_grid.inputs0")["img"]
        wanted = self.folder.tensors("small_grid.baseline0")
        check(self.folder.run(model, img), wanted, self.folder.RECORDED)

    def test_published_containers_are_understood(
        self, tmp_path: Path, body_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            model = self.folder.load(self.write_small(tmp_path), body_path)
        assert f"body model: {body_path}" in caplog.text
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert not model.training
        assert model.config == self.folder.case_config("small_grid")
        self.assert_recorded(model)

    def test_a_body_that_is_not_the_weights_own_is_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = self.write_small(tmp_path)
        self.folder.load(path)
        assert f"{path} holds no body model, so the bundled" in caplog.text

    def test_a_configuration_has_the_checkpoint_s_name_without_any_ending(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path / "a").rename(tmp_path / "own_name.pth.tar")
        config = self.folder.case_config("small_grid")
        (tmp_path / "own_name.yaml").write_text(yaml.safe_dump(config.to_dict()))
        assert self.folder.load(path).config == config

    @pytest.mark.parametrize(
        ("container", "prefix"),
        [
            ("", ""),
            ("", "module."),
            ("", "module._orig_mod."),
            ("", "ema_model.module."),
            ("model", ""),
            ("state_dict", "model."),
            ("net/module", "_orig_mod."),
            ("state_dict_ema", "module.model."),
            ("extra/EMA", "module."),
        ],
    )
    def test_wrappers_are_taken_off(
        self, tmp_path: Path, body_path: Path, container: str, prefix: str
    ) -> None:
        content: Any = {prefix + key: value for key, value in self.folder.weights("small_grid").items()}
        for name in reversed(container.split("/") if container else []):
            content = {"epoch": 3, name: content, "optimizer": {"state": {0: {"step": ZERO}}}}
        torch.save(content, tmp_path / "weights.pth")
        sizes = self.folder.case_config("small_grid").to_dict()
        (tmp_path / "weights.yaml").write_text(yaml.safe_dump(sizes))
        self.assert_recorded(self.folder.load(tmp_path / "weights.pth", body_path))

    def test_a_compiled_part_and_averages_beside_the_weights(self, tmp_path: Path, body_path: Path) -> None:
        weights = self.folder.weights("small_grid")
        part = f"{self.folder.PART}."
        compiled = {key.replace(part, f"{part}_orig_mod.", 1): value for key, value in weights.items()}
        averages = {f"ema.{key}": torch.zeros_like(value) for key, value in weights.items()}
        path = self.write_small(tmp_path)
        torch.save({"model_ema": averages, "state_dict": {**averages, **compiled}}, path)
        self.assert_recorded(self.folder.load(path, body_path))

    def test_two_models_in_a_file_are_refused(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path)
        weights = self.folder.weights("small_grid")
        torch.save({"best": weights, "last": dict(weights)}, path)
        with pytest.raises(CheckpointError, match=f"holds several {self.folder.name} models, at best, last"):
            self.folder.load(path)

    def test_a_part_of_a_checkpoint(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path)
        head = {
            k: v for k, v in self.folder.weights("small_grid").items() if not k.startswith(self.folder.PART)
        }
        torch.save({"state_dict": head}, path)
        lacks = rf"it has .*, but no weights .* {self.folder.PART}\."
        part = f"only a part of a {self.folder.name} checkpoint: {lacks}"
        with pytest.raises(CheckpointError, match=part):
            self.folder.load(path)

    def test_a_link_finds_the_configuration_beside_it(self, tmp_path: Path, body_path: Path) -> None:
        """As caches of downloads lie: names are links to files named by their checksum."""
        path = self.write_small(tmp_path / "cache")
        blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot" / "files"
        blobs.mkdir()
        snapshot.mkdir(parents=True)
        sizes = self.folder.case_config("small_grid").to_dict()
        (blobs / "c0ffee").write_text(yaml.safe_dump(sizes))
        path.rename(blobs / "beef")
        (snapshot / "model.ckpt").symlink_to("../../blobs/beef")
        (snapshot / "model_config.yaml").symlink_to("../../blobs/c0ffee")
        self.assert_recorded(self.folder.load(snapshot / "model.ckpt", body_path))
        (snapshot / "model_config.yaml").rename(blobs / "model_config.yaml")
        (blobs / "model_config.yaml").unlink()
        (blobs / "model_config.yaml").write_text(yaml.safe_dump(sizes))
        self.assert_recorded(self.folder.load(snapshot / "model.ckpt", body_path))

    def test_without_any_body_model_the_bundled_one_is_used(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            model = self.folder.load(self.write_small(tmp_path))
        assert f"body model: {self.folder.BUNDLED_BODY}, bundled" in caplog.text
        template = model.state_dict()[f"{self.folder.BODY}v_template"]
        assert np.allclose(template.numpy(), self.folder.bundled_body().v_template)

    def full_size(self) -> dict[str, Tensor]:
        """All published keys with their shapes; one number repeated stands for each weight."""
        numbers = {"int64": torch.int64, "bool": torch.bool}
        return {
            key: torch.ones(1 if shape else (), dtype=numbers.get(dtype, torch.float32)).expand(shape)
            for key, (shape, dtype) in self.folder.published_table().items()
        }

    def write_full_size(self, folder: Path, weights: dict[str, Tensor]) -> Path:
        """The published checkpoint as it lies on disk, with the configuration that comes with it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.folder.published_name
        torch.save(self.folder.container(weights), path)
        return path

    def test_the_published_checkpoint_at_full_size(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        weights = self.full_size()
        assert len(weights) == self.folder.keys
        path = self.write_full_size(tmp_path / "weights", weights)
        with caplog.at_level(logging.WARNING):
            model = self.folder.load(path)
        assert [record.msg for record in caplog.records if "holds no body model" not in record.msg] == []
        assert model.config == self.folder.config.official()
        assert sum(p.numel() for p in self.folder.vit(model).blocks.parameters()) == 629_678_080
        assert not any(tensor.is_meta for tensor in model.state_dict().values())

    def test_our_yaml_round_trip(self, tmp_path: Path) -> None:
        config = self.folder.case_config("full_grid")
        (tmp_path / "x.yaml").write_text(yaml.safe_dump(config.to_dict()))
        assert self.folder.config.from_yaml(tmp_path / "x.yaml") == config

    def test_another_models_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_text("model: vitpose\n")
        wrong = rf"x\.yaml is for model 'vitpose', but {self.folder.name} needs"
        with pytest.raises(ConfigError, match=wrong):
            self.folder.config.from_yaml(tmp_path / "x.yaml")

    @pytest.mark.parametrize("text", ["- a list", "{unclosed", "x: !!python/object/apply:os.getcwd []", ""])
    def test_yaml_that_is_no_configuration(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"x\.yaml"):
            self.folder.config.from_yaml(tmp_path / "x.yaml")

    def test_other_models_are_refused_by_name(self, tmp_path: Path) -> None:
        others = [what for what in OTHERS if what != f"{self.folder.name}'s"]
        assert len(others) == len(OTHERS) - 1
        for what in others:
            torch.save(OTHERS[what], tmp_path / "other.ckpt")
            refused = f"not a {self.folder.name} checkpoint: it .*{what}.*{self.folder.upstream}"
            with pytest.raises(CheckpointError, match=refused):
                self.folder.load(tmp_path / "other.ckpt")

    def test_missing_and_unexpected_keys_are_named(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        weights, part = self.folder.weights("small_grid"), self.folder.PART
        del weights[f"{part}.blocks.3.attn.qkv.weight"], weights[self.folder.needed]
        with pytest.raises(CheckpointError, match="lacks ") as error:
            self.folder.load(self.write_small(tmp_path / "a", weights))
        assert "blocks.3.attn.qkv.weight" in str(error.value)
        assert self.folder.needed in str(error.value)
        weights = self.folder.weights("small_grid") | {f"{part}.cls_token": ZERO}
        with caplog.at_level(logging.WARNING):
            self.folder.load(self.write_small(tmp_path / "b", weights))
        assert f"{part}.cls_token" in caplog.text

    def test_a_configuration_of_another_size_is_noticed(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path / "a")
        with pytest.raises(CheckpointError, match=rf"{self.folder.PART}\.\S+ \[.*64\] instead of \[.*32\]"):
            self.folder.load(path, config_path=self.micro_yaml(tmp_path))

    def test_files_that_are_damaged_or_ask_for_code(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path)
        (tmp_path / "half.ckpt").write_bytes(path.read_bytes()[:5000])
        (tmp_path / "empty.ckpt").write_bytes(b"")
        torch.save({"state_dict": shutil.rmtree}, tmp_path / "code.ckpt")
        for name, message in (("half", "truncated, damaged"), ("empty", "is empty"), ("code", "rmtree")):
            with pytest.raises(CheckpointError, match=message):
                self.folder.load(tmp_path / f"{name}.ckpt")

    def test_files_that_are_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        name = self.folder.published_name
        missing = rf"checkpoint {name} is not in .*{self.folder.upstream}"
        with pytest.raises(MissingAssetError, match=missing):
            self.folder.load(tmp_path / name)
        path = self.write_small(tmp_path)
        with pytest.raises(MissingAssetError, match=r"nothing\.yaml is not in"):
            self.folder.load(path, config_path=tmp_path / "nothing.yaml")
        with pytest.raises(MissingAssetError, match=self.folder.BODY_FILE):
            self.folder.load(path, tmp_path / self.folder.BODY_FILE)
        monkeypatch.setattr(f"{self.folder.package}.model.loading.BUNDLED", tmp_path / "thin.safetensors")
        with pytest.raises(MissingAssetError, match="restore the file from the repository"):
            self.folder.load()
