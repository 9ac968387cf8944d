"""Loading HaMeR: what every hand folder loads, and the recorded container of the published training code."""

import logging
from typing import Any

import pytest
import torch
import yaml
from folder import FOLDER
from suites.hand_loading import HandLoadingSuite
from suites.hands import run

from hamer_tmu.model import HaMeRConfig, load_hamer
from shared_tmu.errors import ConfigError
from shared_tmu.files.checkpoints import read_checkpoint


class TestLoading(HandLoadingSuite):
    folder = FOLDER


def test_the_recorded_container(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    """Written by Lightning itself, with a yacs node inside."""
    sizes = {
        "image_size": 128,
        "backbone": {"img_size": [128, 64], "embed_dim": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 2},
        "decoder": {"depth": 1, "heads": 2, "mlp_dim": 32, "dim_head": 8, "dim": 32, "context_dim": 32},
    }
    (tmp_path / "micro.yaml").write_text(yaml.safe_dump(sizes))
    path = FOLDER.golden / "container_example.ckpt"
    with caplog.at_level(logging.INFO):
        model = load_hamer(path, config_path=tmp_path / "micro.yaml")
    assert "body model: the one in container_example.ckpt" in caplog.text
    state, found = read_checkpoint(path)["state_dict"], model.state_dict()
    assert set(found) == set(state)
    assert all(torch.equal(found[key], state[key]) for key in state)
    assert run(model, torch.zeros(1, 3, 128, 128))["pred_vertices"].isfinite().all()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("MODEL", "MANO_HEAD", "TRANSFORMER_INPUT"), "mean_shape", "TRANSFORMER_INPUT is 'mean_shape'"),
        (("MODEL", "MANO_HEAD", "IEF_ITERS"), 3, "IEF_ITERS is 3"),
        (("MODEL", "MANO_HEAD", "TRANSFORMER_DECODER"), None, "no section TRANSFORMER_DECODER"),
        (
            ("MODEL", "MANO_HEAD", "TRANSFORMER_DECODER", "context_dim"),
            7,
            "context_dim is 7, but the backbone has 1280",
        ),
    ],
)
def test_other_published_heads_are_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    content = yaml.safe_load(yaml.safe_dump(FOLDER.official))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ConfigError, match=message):
        HaMeRConfig.from_dict(content)
