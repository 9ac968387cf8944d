"""What only hand models' files have: Lightning's container, the published YAML, a body model inside."""

import logging
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
from shared_tmu.errors import CheckpointError, ConfigError
from shared_tmu.files.checkpoints import read_checkpoint

from .hands import HandFolder, mano_standin, run
from .loading import ZERO, LoadingSuite


class HandLoadingSuite(LoadingSuite):
    """`load_...` and `save_...` of a hand folder."""

    folder: ClassVar[HandFolder]

    @pytest.fixture
    def container(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A checkpoint as Lightning writes it: body model inside, and a yacs node as configuration."""
        yacs = ModuleType("yacs.config")
        yacs.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs.config"})  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "yacs", ModuleType("yacs"))
        monkeypatch.setitem(sys.modules, "yacs.config", yacs)
        model = self.folder.build(self.folder.sized(32, 128, 64), mano_standin())
        inside = self.folder.official | {"MODEL": self.folder.official["MODEL"] | {"IMAGE_SIZE": 128}}
        path = tmp_path / "container" / self.folder.published_name
        path.parent.mkdir()
        parameters = {"cfg": yacs.CfgNode(inside)}  # type: ignore[attr-defined]
        torch.save({"state_dict": model.state_dict(), "hyper_parameters": parameters}, path)
        monkeypatch.delitem(sys.modules, "yacs.config")
        return path

    def test_a_container_loads_with_its_own_body_model(
        self, container: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            model = self.folder.load(container, config_path=self.micro_yaml(tmp_path))
        assert f"body model: the one in {container.name}" in caplog.text
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        state, found = read_checkpoint(container)["state_dict"], model.state_dict()
        assert set(found) == set(state)
        assert all(torch.equal(found[key], state[key]) for key in state)
        assert not model.training
        assert np.array_equal(model.mano.faces, mano_standin().faces)
        assert run(model, torch.zeros(1, 3, 128, 128))["pred_vertices"].isfinite().all()

    def test_a_part_of_a_body_model_is_refused(self, container: Path, tmp_path: Path) -> None:
        content = read_checkpoint(container)
        state = {k: v for k, v in content["state_dict"].items() if k != "mano.lbs_weights"}
        other = container.with_name(f"other_{container.name}")  # the first is mapped into memory
        torch.save({"state_dict": state}, other)
        given = {"config_path": self.micro_yaml(tmp_path)}
        with pytest.raises(
            CheckpointError, match=r"only a part of a body model: mano\.\* without lbs_weights"
        ):
            self.folder.load(other, **given)
        np.savez(tmp_path / "hand.npz", **load_mano().to_dict())
        model = self.folder.load(other, mano_path=tmp_path / "hand.npz", **given)
        assert np.array_equal(model.mano.faces, load_mano().faces)

    def test_a_configuration_object_inside_is_read(self, container: Path) -> None:
        """The container's own configuration describes no published size, and the message says so."""
        inside = rf"configuration inside .*{self.folder.published_name}: MODEL\.IMAGE_SIZE is 128"
        with pytest.raises(ConfigError, match=inside):
            self.folder.load(container)

    def test_a_given_body_model_wins(
        self, container: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        np.savez(tmp_path / "hand.npz", **load_mano().to_dict())
        with caplog.at_level(logging.INFO):
            model = self.folder.load(
                container, mano_path=tmp_path / "hand.npz", config_path=self.micro_yaml(tmp_path)
            )
        assert f"body model: {tmp_path / 'hand.npz'}" in caplog.text
        assert np.allclose(model.mano.v_template.numpy(), load_mano().v_template)

    @pytest.mark.parametrize("place", ["NAME.yaml", "model_config.yaml", "../model_config.yaml"])
    def test_configurations_are_found(self, tmp_path: Path, place: str) -> None:
        path = tmp_path / "checkpoints" / self.folder.published_name
        path.parent.mkdir()
        torch.save(self.folder.weights("small_grid"), path)
        config = self.folder.case_config("small_grid")
        (path.parent / place.replace("NAME", path.stem)).write_text(yaml.safe_dump(config.to_dict()))
        assert self.folder.load(path).config == config

    def test_no_configuration(self, tmp_path: Path) -> None:
        path = tmp_path / self.folder.published_name
        torch.save(self.folder.weights("small_grid"), path)
        looked = rf"no configuration was found for .*looked for .*{path.stem}\.yaml, .*model_config\.yaml"
        with pytest.raises(ConfigError, match=looked):
            self.folder.load(path)

    def test_published_yaml_describes_the_published_model(self, tmp_path: Path) -> None:
        path = tmp_path / "model_config.yaml"
        path.write_text(yaml.safe_dump(self.folder.official))
        assert self.folder.config.from_yaml(path) == self.folder.config.official()

    def full_size(self) -> dict[str, Tensor]:
        """The body model inside has values that are a hand's."""
        mano = ManoLayer(load_mano()).state_dict()
        return {key: mano.get(key.removeprefix("mano."), one) for key, one in super().full_size().items()}

    def write_full_size(self, folder: Path, weights: dict[str, Tensor]) -> Path:
        """The configuration lies in the folder above."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / "model_config.yaml").write_text(yaml.safe_dump(self.folder.official))
        return super().write_full_size(folder, weights)

    def test_a_plain_configuration_inside_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / self.folder.published_name
        torch.save(
            self.folder.container(self.full_size(), hyper_parameters={"cfg": self.folder.official}), path
        )
        assert self.folder.load(path).config == self.folder.config.official()

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("BACKBONE", {"TYPE": "resnet"}, r"MODEL\.BACKBONE\.TYPE is 'resnet', but only 'vit'"),
            ("BACKBONE", None, "no section BACKBONE"),
            ("IMAGE_SIZE", 224, r"MODEL\.IMAGE_SIZE is 224, .* own layout"),
        ],
    )
    def test_other_published_variants_are_refused(self, key: str, value: Any, message: str) -> None:
        content = self.folder.official | {"MODEL": self.folder.official["MODEL"] | {key: value}}
        with pytest.raises(ConfigError, match=message):
            self.folder.config.from_dict(content)

    def test_a_discriminator_is_neither_loaded_nor_saved(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        weights = self.folder.weights("small_grid") | {"discriminator.D_conv1.bias": ZERO}
        with caplog.at_level(logging.WARNING):
            self.folder.load(self.write_small(tmp_path, weights))
        assert [record.msg for record in caplog.records if "holds no body model" not in record.msg] == []
        config = self.folder.case_config("small_grid", with_discriminator=True)
        (tmp_path / "x.yaml").write_text(yaml.safe_dump(config.to_dict()))
        assert self.folder.config.from_yaml(tmp_path / "x.yaml") == config
        self.folder.save(self.folder.build(config, mano_standin()), tmp_path / "y.safetensors")
        assert not self.folder.load(tmp_path / "y.safetensors").config.with_discriminator
