"""Loading hand models: official containers, our own files, other models' files, and their configurations."""

import logging
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from shared_tmu.body_models import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.checkpoints import read_checkpoint
from shared_tmu.errors import CheckpointError, ConfigError, MissingAssetError

from .hands import MANO_PICKLE, HandFolder, check, mano_standin, run

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


class LoadingSuite:
    """`load_...` and `save_...` of a folder."""

    hands: ClassVar[HandFolder]

    def micro_yaml(self, folder: Path) -> Path:
        """The sizes of a model 32 wide, 128x64."""
        path = folder / "micro.yaml"
        path.write_text(yaml.safe_dump(self.hands.sized(32, 128, 64).to_dict()))
        return path

    def write_small(self, folder: Path, state: dict[str, Tensor], **extra: Any) -> Path:
        """A checkpoint in the published layout, with its configuration in our layout two folders up."""
        (folder / "checkpoints").mkdir(parents=True)
        path = folder / "checkpoints" / self.hands.published_name
        torch.save({"state_dict": state, "epoch": 1, **extra}, path)
        sizes = self.hands.case_config("small_grid").to_dict()
        (folder / "model_config.yaml").write_text(yaml.safe_dump(sizes))
        return path

    def state(self) -> dict[str, Tensor]:
        return self.hands.tensors("small_grid.weights")

    @pytest.fixture
    def container(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A checkpoint as Lightning writes it: body model inside, and a yacs node as configuration."""
        yacs = ModuleType("yacs.config")
        yacs.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs.config"})  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "yacs", ModuleType("yacs"))
        monkeypatch.setitem(sys.modules, "yacs.config", yacs)
        model = self.hands.build(self.hands.sized(32, 128, 64), mano_standin())
        inside = self.hands.official | {"MODEL": self.hands.official["MODEL"] | {"IMAGE_SIZE": 128}}
        path = tmp_path / "container" / self.hands.published_name
        path.parent.mkdir()
        parameters = {"cfg": yacs.CfgNode(inside)}  # type: ignore[attr-defined]
        torch.save({"state_dict": model.state_dict(), "hyper_parameters": parameters}, path)
        monkeypatch.delitem(sys.modules, "yacs.config")
        return path

    def test_published_folders_are_understood(self, tmp_path: Path) -> None:
        model = self.hands.load(self.write_small(tmp_path, self.state()), mano_path=MANO_PICKLE)
        img = self.hands.tensors("small_grid.inputs0")["img"]
        check(run(model, img), self.hands.tensors("small_grid.baseline0"))

    def test_a_container_loads_with_its_own_body_model(
        self, container: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            model = self.hands.load(container, config_path=self.micro_yaml(tmp_path))
        assert f"body model: the one in {container.name}" in caplog.text
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        state, found = read_checkpoint(container)["state_dict"], model.state_dict()
        assert set(found) == set(state)
        assert all(torch.equal(found[key], state[key]) for key in state if key != "initialized")
        assert not model.training
        assert np.array_equal(model.mano.faces, mano_standin().faces)
        assert run(model, torch.zeros(1, 3, 128, 128))["pred_vertices"].isfinite().all()

    def test_a_configuration_object_inside_is_read(self, container: Path) -> None:
        """The container's own configuration describes no published size, and the message says so."""
        inside = rf"configuration inside .*{self.hands.published_name}: MODEL\.IMAGE_SIZE is 128"
        with pytest.raises(ConfigError, match=inside):
            self.hands.load(container)

    def test_a_given_body_model_wins(
        self, container: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        np.savez(tmp_path / "hand.npz", **load_mano().to_dict())
        with caplog.at_level(logging.INFO):
            model = self.hands.load(
                container, mano_path=tmp_path / "hand.npz", config_path=self.micro_yaml(tmp_path)
            )
        assert f"body model: {tmp_path / 'hand.npz'}" in caplog.text
        assert np.allclose(model.mano.v_template.numpy(), load_mano().v_template)

    @pytest.mark.parametrize("place", ["NAME.yaml", "model_config.yaml", "../model_config.yaml"])
    def test_configurations_are_found(self, tmp_path: Path, place: str) -> None:
        path = tmp_path / "checkpoints" / self.hands.published_name
        path.parent.mkdir()
        torch.save(self.state(), path)
        config = self.hands.case_config("small_grid")
        (path.parent / place.replace("NAME", path.stem)).write_text(yaml.safe_dump(config.to_dict()))
        assert self.hands.load(path).config == config

    def test_no_configuration(self, tmp_path: Path) -> None:
        path = tmp_path / self.hands.published_name
        torch.save(self.state(), path)
        looked = rf"no configuration for .*looked for .*{path.stem}\.yaml, .*model_config\.yaml"
        with pytest.raises(ConfigError, match=looked):
            self.hands.load(path)

    def test_another_models_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_text("model: vitpose\n")
        with pytest.raises(ConfigError, match=r"x\.yaml describes a 'vitpose'"):
            self.hands.config.from_yaml(tmp_path / "x.yaml")

    def test_without_any_body_model_the_bundled_one_is_used(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            model = self.hands.load(self.write_small(tmp_path, self.state()))
        assert "body model: SynthHand, bundled" in caplog.text
        assert np.allclose(model.mano.v_template.numpy(), load_mano().v_template)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
    def test_saving_and_loading_our_own(self, tmp_path: Path, dtype: torch.dtype) -> None:
        model = self.hands.case_model("small_grid")
        self.hands.save(model, tmp_path / "mine.safetensors", dtype)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.safetensors", "mine.yaml"]
        stored = read_checkpoint(tmp_path / "mine.safetensors")
        assert {value.dtype for value in stored.values() if value.is_floating_point()} == {dtype}
        assert not [key for key in stored if key.startswith("mano.")]
        again = self.hands.load(tmp_path / "mine.safetensors", mano_path=MANO_PICKLE)
        assert next(again.parameters()).dtype == torch.float32
        img = self.hands.tensors("small_grid.inputs0")["img"]
        found, wanted = run(again, img), run(model, img)
        tolerance = 1e-2 if dtype == torch.float16 else 1e-6
        assert (found["pred_vertices"] - wanted["pred_vertices"]).abs().max() < tolerance

    def test_dtype_of_the_loaded_model(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path, self.state())
        model = self.hands.load(path, dtype=torch.float16)
        assert model.backbone.pos_embed.dtype == torch.float16
        assert model.mano.v_template.dtype == torch.float32
        assert self.hands.load(path, dtype=torch.float64).mano.v_template.dtype == torch.float64

    def test_published_yaml_describes_the_published_model(self, tmp_path: Path) -> None:
        path = tmp_path / "model_config.yaml"
        path.write_text(yaml.safe_dump(self.hands.official))
        assert self.hands.config.from_yaml(path) == self.hands.config.official()

    @pytest.mark.parametrize("where", ["model_config.yaml", "inside"])
    def test_the_published_checkpoint_at_full_size(
        self, tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """All keys with their shapes; one number repeated stands for each weight, so the file is small."""
        mano, numbers = ManoLayer(load_mano()).state_dict(), {"int64": torch.int64, "bool": torch.bool}
        state = {}
        for key, (shape, dtype) in self.hands.published_table().items():
            one = torch.ones(1 if shape else (), dtype=numbers.get(dtype, torch.float32))
            own = mano.get(key.removeprefix("mano."))
            state[key] = one.expand(shape) if own is None else own
        assert len(state) == self.hands.keys
        path = tmp_path / "ckpts" / "checkpoints" / self.hands.published_name
        path.parent.mkdir(parents=True)
        content: dict[str, Any] = {"state_dict": state, "epoch": 40, "pytorch-lightning_version": "1.8.1"}
        if where == "inside":
            content["hyper_parameters"] = {"cfg": self.hands.official}
        else:
            (tmp_path / "ckpts" / "model_config.yaml").write_text(yaml.safe_dump(self.hands.official))
        torch.save(content, path)
        with caplog.at_level(logging.WARNING):
            model = self.hands.load(path)
        assert caplog.text == ""
        assert model.config == self.hands.config.official()
        assert sum(p.numel() for p in model.backbone.blocks.parameters()) == 629_678_080
        assert not any(tensor.is_meta for tensor in model.state_dict().values())

    def test_our_yaml_round_trip(self, tmp_path: Path) -> None:
        config = self.hands.case_config("full_grid", with_discriminator=True)
        (tmp_path / "x.yaml").write_text(yaml.safe_dump(config.to_dict()))
        assert self.hands.config.from_yaml(tmp_path / "x.yaml") == config

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("BACKBONE", {"TYPE": "resnet"}, r"MODEL\.BACKBONE\.TYPE is 'resnet'; only 'vit'"),
            ("BACKBONE", None, "no section BACKBONE"),
            ("IMAGE_SIZE", 224, r"MODEL\.IMAGE_SIZE is 224; .* own layout"),
        ],
    )
    def test_other_published_variants_are_refused(self, key: str, value: Any, message: str) -> None:
        content = self.hands.official | {"MODEL": self.hands.official["MODEL"] | {key: value}}
        with pytest.raises(ConfigError, match=message):
            self.hands.config.from_dict(content)

    @pytest.mark.parametrize("text", ["- a list", "{unclosed", "x: !!python/object/apply:os.getcwd []", ""])
    def test_yaml_that_is_no_configuration(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"x\.yaml"):
            self.hands.config.from_yaml(tmp_path / "x.yaml")

    def test_other_models_are_refused_by_name(self, tmp_path: Path) -> None:
        others = [what for what in OTHERS if what != f"{self.hands.name}'s"]
        assert len(others) == len(OTHERS) - 1
        for what in others:
            torch.save(OTHERS[what], tmp_path / "other.ckpt")
            refused = f"not a {self.hands.name} checkpoint: it .*{what}.*{self.hands.upstream}"
            with pytest.raises(CheckpointError, match=refused):
                self.hands.load(tmp_path / "other.ckpt")

    def test_missing_and_unexpected_keys_are_named(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        state = self.state()
        del state["backbone.blocks.3.attn.qkv.weight"], state[self.hands.needed]
        with pytest.raises(CheckpointError, match="lacks ") as error:
            self.hands.load(self.write_small(tmp_path / "a", state))
        assert "blocks.3.attn.qkv.weight" in str(error.value)
        assert self.hands.needed in str(error.value)
        state = self.state() | {"backbone.cls_token": ZERO, "discriminator.D_conv1.bias": ZERO}
        with caplog.at_level(logging.WARNING):
            self.hands.load(self.write_small(tmp_path / "b", state))
        assert "backbone.cls_token" in caplog.text
        assert "discriminator" not in caplog.text

    def test_a_configuration_of_another_size_is_noticed(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path / "a", self.state())
        wrong = r"backbone\.pos_embed \[1, 33, 64\] instead of \[1, 33, 32\]"
        with pytest.raises(CheckpointError, match=wrong):
            self.hands.load(path, config_path=self.micro_yaml(tmp_path))

    def test_files_that_are_damaged_or_ask_for_code(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path, self.state())
        (tmp_path / "half.ckpt").write_bytes(path.read_bytes()[:5000])
        (tmp_path / "empty.ckpt").write_bytes(b"")
        torch.save({"state_dict": shutil.rmtree}, tmp_path / "code.ckpt")
        for name, message in (("half", "truncated, damaged"), ("empty", "is empty"), ("code", "rmtree")):
            with pytest.raises(CheckpointError, match=message):
                self.hands.load(tmp_path / f"{name}.ckpt")

    def test_files_that_are_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        name = self.hands.published_name
        with pytest.raises(MissingAssetError, match=rf"checkpoint {name} is not in .*{self.hands.upstream}"):
            self.hands.load(tmp_path / name)
        path = self.write_small(tmp_path, self.state())
        with pytest.raises(MissingAssetError, match=r"nothing\.yaml is not in"):
            self.hands.load(path, config_path=tmp_path / "nothing.yaml")
        with pytest.raises(MissingAssetError, match=r"MANO_RIGHT\.pkl"):
            self.hands.load(path, mano_path=tmp_path / "MANO_RIGHT.pkl")
        monkeypatch.setattr(f"{self.hands.loading}.BUNDLED", tmp_path / "thin.safetensors")
        with pytest.raises(MissingAssetError, match="restore the file from the repository"):
            self.hands.load()

    def test_a_model_with_discriminator_saves_without_it(self, tmp_path: Path) -> None:
        config = self.hands.case_config("small_grid", with_discriminator=True)
        self.hands.save(self.hands.build(config, mano_standin()), tmp_path / "x.safetensors")
        assert not self.hands.load(tmp_path / "x.safetensors").config.with_discriminator
