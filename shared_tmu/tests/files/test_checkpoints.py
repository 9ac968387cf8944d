"""Reading checkpoints: nothing is executed, and everything that is not weights is refused with a reason."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from shared_tmu.errors import CheckpointError
from shared_tmu.files.checkpoints import read_checkpoint, read_metadata, save_safetensors

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(True)}


class Malicious:
    """Would create a folder when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_torch_files_of_both_kinds(tmp_path: Path, zip_format: bool) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, path, _use_new_zipfile_serialization=zip_format)
    content = read_checkpoint(path)
    assert content["epoch"] == 3
    assert torch.equal(content["state_dict"]["a.weight"], WEIGHTS["a.weight"])


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
def test_safetensors_by_content(tmp_path: Path, name: str) -> None:
    save_safetensors(WEIGHTS, tmp_path / name, {"model": "test"})
    content = read_checkpoint(tmp_path / name)
    assert torch.equal(content["a.weight"], WEIGHTS["a.weight"])
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_saving_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_safetensors(WEIGHTS, path)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        save_safetensors({"a": "not a tensor"}, path)  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def config_node() -> type:
    """A stand-in with yacs's names, so that this test does not need yacs."""
    return type("CfgNode", (dict,), {"__module__": "yacs.config", "__qualname__": "CfgNode"})


def test_configuration_nodes_come_as_dictionaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("yacs.config")
    module.CfgNode = config_node()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    inner = module.CfgNode({"TYPE": "vit"})
    inner.__dict__["__immutable__"] = True
    path = tmp_path / "model.ckpt"
    torch.save({"hyper_parameters": {"cfg": module.CfgNode({"MODEL": inner})}, "state_dict": WEIGHTS}, path)
    monkeypatch.undo()
    cfg = read_checkpoint(path)["hyper_parameters"]["cfg"]
    assert cfg["MODEL"]["TYPE"] == "vit"


@pytest.mark.parametrize("writer", ["zip", "legacy", *range(pickle.HIGHEST_PROTOCOL + 1)])
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, writer: Any) -> None:
    path, target = tmp_path / "model.ckpt", tmp_path / "executed"
    content = {"state_dict": WEIGHTS, "callbacks": Malicious(target)}
    if writer in ("zip", "legacy"):
        torch.save(content, path, _use_new_zipfile_serialization=writer == "zip")
    else:
        path.write_bytes(pickle.dumps(content, protocol=writer))
    with pytest.raises(CheckpointError, match=r"refers to .*'(posix|nt)\.mkdir'"):
        read_checkpoint(path)
    assert not target.exists()


def test_the_same_content_gives_the_same_bytes(tmp_path):
    texts = {name: f'{name} \u00e9\u4e2d\n"' for name in ("model", "config", "recipe", "about", "kind")}
    for number in range(12):
        save_safetensors(WEIGHTS, tmp_path / f"{number}.safetensors", texts)
    written = [(tmp_path / f"{number}.safetensors").read_bytes() for number in range(12)]
    assert len(set(written)) == 1
    assert read_metadata(tmp_path / "0.safetensors") == texts
    assert set(read_checkpoint(tmp_path / "0.safetensors")) == set(WEIGHTS)
