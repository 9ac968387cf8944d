"""Loading SMPLest-X: what every folder loads, and the recorded container with its optimizer."""

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from folder import FOLDER
from suites.loading import LoadingSuite

from shared_tmu.errors import BodyModelError, ConfigError, MissingAssetError
from shared_tmu.files.checkpoints import read_checkpoint
from smplest_x_tmu.model import SMPLestXConfig, load_smplest_x

CONTAINER = FOLDER.golden / "container_example.pth.tar"
MICRO = {
    "encoder": {"img_size": [128, 64], "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_ratio": 2},
    "decoder": {
        "depth": 1, "heads": 2, "dim_head": 4, "dim": 16, "context_dim": 16, "mlp_dim": 16, "dim_out": 2,
    },
}  # fmt: skip


class TestLoading(LoadingSuite):
    folder = FOLDER

    def test_sizes_default_to_the_published_ones(self, tmp_path: Path) -> None:
        """The published configuration is a program; without one of ours, small weights do not fit."""
        path = self.write_small(tmp_path)
        path.with_suffix(".yaml").unlink()
        with pytest.raises(Exception, match=r"task_tokens \[1, 80, 64\] instead of \[1, 80, 1280\]"):
            load_smplest_x(path)

    def test_old_names_and_a_body_model_inside(
        self, tmp_path: Path, body_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        weights = {
            key.replace("encoder.", "backbone.", 1) if key.startswith("encoder.") else key: value
            for key, value in FOLDER.weights("small_grid").items()
        }
        weights["smplx_layer.v_template"] = torch.full((10475, 3), 9.0)
        model = load_smplest_x(self.write_small(tmp_path, weights), body_path)
        self.assert_recorded(model)
        assert model.smplx_layer.v_template.max() < 9
        assert caplog.text == ""

    def test_the_optimizer_is_never_read(self, tmp_path: Path, body_path: Path) -> None:
        """A file with 256 MiB of moments costs neither memory of our own nor pages of the file."""
        moments = {
            "exp_avg": torch.ones(1 << 25),
            "exp_avg_sq": torch.ones(1 << 25),
            "step": torch.tensor(3.0),
        }
        path = self.write_small(tmp_path, optimizer={"state": {0: moments}})
        load_smplest_x(path, body_path)  # warm up
        del moments
        before = {kind: resident_mib(kind) for kind in ("RssFile", "RssAnon")}
        content = read_checkpoint(path)
        model = load_smplest_x(path, body_path)
        grown = {kind: resident_mib(kind) - before[kind] for kind in before}
        assert grown["RssFile"] < 32, grown
        assert grown["RssAnon"] < 128, grown  # the body model
        assert content["optimizer"]["state"][0]["exp_avg"].shape == (1 << 25,)
        self.assert_recorded(model)


def resident_mib(kind: str) -> float:
    """Memory of this process that lies in physical memory: of files (`RssFile`) or its own (`RssAnon`)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    raise LookupError(kind)


@pytest.fixture(scope="module")
def body_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FOLDER.write_body(tmp_path_factory.mktemp("body"))


@pytest.fixture
def micro_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "micro.yaml"
    path.write_text(yaml.safe_dump(MICRO))
    return path


def test_official_container(micro_yaml: Path, body_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model = load_smplest_x(CONTAINER, body_path, micro_yaml)
    assert f"body model: {body_path}" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    state = read_checkpoint(CONTAINER)["network"]
    found = model.state_dict()
    assert len(state) == 62
    assert all(torch.equal(found[key.removeprefix("module.")], value) for key, value in state.items())
    assert not model.training
    out = model({"img": torch.zeros(1, 3, 128, 64)})
    assert out["smplx_mesh_cam"].shape == (1, 10475, 3)
    assert all(value.isfinite().all() for value in out.values())


def test_the_body_model_by_path(tmp_path: Path, micro_yaml: Path, body_path: Path) -> None:
    """`.npz` and `.pkl` are the same person; no code of a pickle is run; a folder says what it lacks."""
    with np.load(body_path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    (tmp_path / "SMPLX_NEUTRAL.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    models = [
        load_smplest_x(CONTAINER, path, micro_yaml) for path in (body_path, tmp_path / "SMPLX_NEUTRAL.pkl")
    ]
    first, second = (model.smplx_layer.state_dict() for model in models)
    assert all(torch.equal(first[key], second[key]) for key in first)
    (tmp_path / "code.pkl").write_bytes(pickle.dumps({"v_template": Path}))
    with pytest.raises(BodyModelError, match=r"code\.pkl"):
        load_smplest_x(CONTAINER, tmp_path / "code.pkl", micro_yaml)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingAssetError, match=r"SMPLX_NEUTRAL\.npz is not in .*smpl-x\.is\.tue"):
        load_smplest_x(CONTAINER, tmp_path / "empty", micro_yaml)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoder": {"embed_dim": 64}},
            "decoder's context_dim is 1280, its dim is 1280, and the encoder's embed_dim is 64",
        ),
        ({"decoder": {"dim_out": 0}}, "dim_out must be from 1 to 65536"),
        ({"crop_scale": 0}, "crop_scale must be from 1 to 16"),
        ({"focal_px": [5000, 0]}, r"focal_px is \(5000\.0, 0\.0\), but crops and cameras always use"),
        ({"heatmap_shape": [16, 16, 10**9]}, "heatmap_shape must be from 1"),
        ({"bbox_ratio": 0}, r"bbox_ratio must be from 0\.5 to 4, found 0"),
        ({"bbox_ratio": "wide"}, "bbox_ratio must be a value such as 1.2"),
        ({"model": "hamer"}, "is for model 'hamer', but SMPLest-X needs 'smplest_x'"),
        ({"backbone": {}}, r"has no field \['backbone'\]"),
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SMPLestXConfig.from_dict(change)
