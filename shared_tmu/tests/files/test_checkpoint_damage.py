"""Damage in archives that torch does not notice, and archives whose contents hide behind other names."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from shared_tmu.errors import CheckpointError
from shared_tmu.files.checkpoints import read_checkpoint


def archive(folder: Path, **options: Any) -> Path:
    path = folder / "model.ckpt"
    torch.save({"weight": torch.arange(3000.0), "other": torch.ones(5)}, path, **options)
    return path


def flip(path: Path, what: bytes, replaced: bytes) -> None:
    content = path.read_bytes()
    assert content.count(what) == 1
    path.write_bytes(content.replace(what, replaced))


@pytest.mark.parametrize("is_aligned", [True, False], ids=["mapped", "packed again"])
def test_one_wrong_bit_in_a_weight_is_found(tmp_path: Path, is_aligned: bool) -> None:
    path = archive(tmp_path)
    if not is_aligned:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "again.ckpt", "w") as new:
            for record in old.infolist():
                new.writestr(record.filename, old.read(record))
        path = tmp_path / "again.ckpt"
    number = torch.tensor([1234.0]).numpy().tobytes()
    flip(path, number, number[:2] + bytes([number[2] ^ 1]) + number[3:])
    with pytest.raises(CheckpointError, match=r"is damaged: the checksum of \w+/data/0 "):
        read_checkpoint(path)


def test_an_archive_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = archive(tmp_path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(path)["weight"][1234] == 1234


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_pickle_protocol_that_torch_does_not_read_is_named(tmp_path: Path, protocol: int) -> None:
    path = archive(tmp_path, pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match=f"pickle protocol {protocol}, .*save it again"):
        read_checkpoint(path)
    assert read_checkpoint(archive(tmp_path, pickle_protocol=3))["weight"][7] == 7


def test_names_are_compared_as_torch_finds_them(tmp_path: Path) -> None:
    """Torch takes the first `data.pkl` whatever its case: the one that is looked through has to be it."""
    path = archive(tmp_path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "two.ckpt", "w") as new:
        new.writestr("model/DATA.PKL", pickle.dumps({}, 2))
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
    with pytest.raises(CheckpointError, match=r"holds 'model/data.pkl' twice"):
        read_checkpoint(tmp_path / "two.ckpt")


def test_a_torch_file_named_safetensors_says_so(tmp_path: Path) -> None:
    path = archive(tmp_path).rename(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"not a safetensors file but was written by torch\.save"):
        read_checkpoint(path)
