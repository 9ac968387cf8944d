"""Checkpoints that are damaged, or made to do harm."""

import logging
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from shared_tmu.errors import CheckpointError, MissingAssetError
from shared_tmu.files.checkpoints import load_weights, read_checkpoint, save_safetensors, tensors_of

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(True)}


def test_whole_modules_are_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"refers to 'torch\.nn\.modules\.linear\.Linear'"):
        read_checkpoint(tmp_path / "model.pt")


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "hello")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_text("<!DOCTYPE html>"), "not a checkpoint: it starts with b'<!DOCTYPE html>'"),
        (lambda p: p.write_bytes(bytes(5000)), "not a checkpoint"),
        (lambda p: p.write_bytes(pickle.dumps([1, 2])), "not a checkpoint"),
        (lambda p: p.mkdir(), "is a folder"),
        (write_zip, "not a torch checkpoint"),
        (lambda p: torch.save(torch.zeros(3), p), "holds a Tensor"),
        (lambda p: torch.save([WEIGHTS], p), "holds a list"),
    ],
)
def test_other_things_are_refused(tmp_path: Path, write: Callable[[Path], Any], message: str) -> None:
    path = tmp_path / "model.ckpt"
    write(path)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "model.file"
    tensors = {"a": torch.randn(50, 50)}
    if kind == "safetensors":
        save_safetensors(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"model\.file"):
        read_checkpoint(path)


def test_random_bytes_named_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(range(200)))
    with pytest.raises(CheckpointError, match="damaged or no safetensors file"):
        read_checkpoint(path)


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"checkpoint x\.ckpt is not in .*\. Ask Anna\."):
        read_checkpoint(tmp_path / "x.ckpt", "Ask Anna.")


def test_tensors_of_leaves_the_rest() -> None:
    assert list(tensors_of({"a": torch.zeros(1), "epoch": 3, 5: torch.zeros(1)})) == ["a"]


def test_weights_reach_a_model_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    weights = {"weight": torch.randn(2, 3), "bias": torch.randn(2)}
    load_weights(model, weights, "here")
    assert model.weight.data_ptr() == weights["weight"].data_ptr()
    assert model.weight.requires_grad


def test_missing_unexpected_and_misshapen_weights_are_named(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"lacks weights that the model needs: 1\.bias, 1\.weight|1\.weight"
    ):
        load_weights(model, {k: v for k, v in weights.items() if not k.startswith("1.")}, "here")
    with pytest.raises(CheckpointError, match=r"0\.bias \[5\] instead of \[2\]"):
        load_weights(model, {**weights, "0.bias": torch.zeros(5)}, "here")
    with caplog.at_level(logging.WARNING):
        load_weights(
            model, {**weights, "2.weight": torch.zeros(1), "skip.me": torch.zeros(1)}, "here", ["skip."]
        )
    assert "keys that the model does not: 2.weight." in caplog.text
    caplog.clear()
    load_weights(model, {k: v for k, v in weights.items() if not k.startswith("1.")}, "here", ["1."])
    assert caplog.text == ""


def test_weights_of_further_layers_are_not_left_out_in_silence() -> None:
    shallow, deep = (nn.Sequential(*(nn.Linear(2, 2) for _ in range(depth))) for depth in (2, 3))
    with pytest.raises(CheckpointError, match=r"more layers than the configured model: blocks\.2\.weight"):
        load_weights(nn.ModuleDict({"blocks": shallow}), nn.ModuleDict({"blocks": deep}).state_dict(), "here")


def packed_again(
    path: Path, method: int = zipfile.ZIP_DEFLATED, before: bytes = b"", after: bytes = b""
) -> Path:
    """The records of an archive in a new one."""
    out = path.with_name("again.ckpt")
    with zipfile.ZipFile(path) as old, out.open("wb") as file:
        file.write(before)
        with zipfile.ZipFile(file, "w", method) as new:
            for record in old.infolist():
                new.writestr(record.filename, old.read(record))
        file.write(after)
    return out


@pytest.mark.parametrize(
    "change", ["deflated", "stored", "padded", "deflated and padded", "shifted by a byte"]
)
@pytest.mark.parametrize("filler", [0.0, None], ids=["zeros", "noise"])
def test_archives_packed_again_load_right(tmp_path: Path, change: str, filler: float | None) -> None:
    tensors = {
        str(n): torch.randn(n, 37) if filler is None else torch.full((n, 37), filler) for n in (1, 3, 50, 400)
    }
    torch.save({"state_dict": tensors}, tmp_path / "model.ckpt")
    method = zipfile.ZIP_DEFLATED if "deflated" in change else zipfile.ZIP_STORED
    path = packed_again(tmp_path / "model.ckpt", method, after=b"x" * 99 if "padded" in change else b"")
    if change.startswith("shifted"):
        with zipfile.ZipFile(tmp_path / "model.ckpt") as old, zipfile.ZipFile(path, "w") as new:
            new.writestr("model/.a", b"x")
            for record in old.infolist():
                new.writestr(record.filename, old.read(record))
    found = read_checkpoint(path)["state_dict"]
    assert all(torch.equal(found[key], value) for key, value in tensors.items())
    assert all(value.data_ptr() % 8 == 0 for value in found.values())


@pytest.mark.parametrize(
    ("method", "before", "message"),
    [
        (zipfile.ZIP_BZIP2, b"", "compressed by a method that torch does not read"),
        (zipfile.ZIP_LZMA, b"", "compressed by a method that torch does not read"),
        (zipfile.ZIP_STORED, b"x" * 99, "not a checkpoint: it starts with b'xxx"),
    ],
)
def test_archives_that_torch_does_not_read(tmp_path: Path, method: int, before: bytes, message: str) -> None:
    torch.save(WEIGHTS, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(packed_again(tmp_path / "model.ckpt", method, before))


def test_an_archive_that_unpacks_to_far_more_than_it_is(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(18_000_000)}, tmp_path / "model.ckpt")
    path = packed_again(tmp_path / "model.ckpt")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match=r"would unpack its .* bytes to 7"):
        read_checkpoint(path)


def test_archives_of_other_kinds(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "model.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "model.ckpt", "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("model/data.pkl", b"")
    with pytest.raises(CheckpointError, match=r"holds 'model/data\.pkl' twice"):
        read_checkpoint(tmp_path / "model.ckpt")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", b"")
        archive.writestr("script/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="TorchScript program"):
        read_checkpoint(tmp_path / "script.pt")


class Calls:
    """Pickled as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (eval, ("1 + 1",), r"builtins\.eval"),
        (exec, ("pass",), r"builtins\.exec"),
        (getattr, ("", "upper"), r"builtins\.getattr"),
        (bytearray, (10**10,), r"builtins\.bytearray"),
        (torch.FloatStorage, (10**10,), r"torch\.FloatStorage"),
        (torch.Tensor, (10**5, 10**5), r"torch\.Tensor"),
    ],
    ids=str,
)
@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_calls_are_refused_by_name(
    tmp_path: Path, function: Callable[..., Any], arguments: tuple[Any, ...], name: str, zip_format: bool
) -> None:
    """Also those that torch would make, for gigabytes of memory."""
    content = {"state_dict": WEIGHTS, "more": Calls(function, *arguments)}
    torch.save(content, tmp_path / "model.ckpt", _use_new_zipfile_serialization=zip_format)
    with pytest.raises(
        CheckpointError, match=rf"refers to '(?:{name}|torch\._C.*|torch\.{function.__name__})'"
    ):
        read_checkpoint(tmp_path / "model.ckpt")


def test_keys_that_take_forever_to_hash(tmp_path: Path) -> None:
    deep: tuple[Any, ...] = ()
    for _ in range(60):
        deep = (deep, deep)
    torch.save({"a": 1}, tmp_path / "model.ckpt")
    swapped = pickle.dumps(deep, 2)[2:-1]
    with zipfile.ZipFile(tmp_path / "model.ckpt") as old, zipfile.ZipFile(tmp_path / "deep.ckpt", "w") as new:
        for record in old.infolist():
            is_pickle = record.filename.endswith("data.pkl")
            new.writestr(
                record.filename, b"\x80\x02}" + swapped + b"K\x01s." if is_pickle else old.read(record)
            )
    with pytest.raises(CheckpointError, match="has a tuple as a key"):
        read_checkpoint(tmp_path / "deep.ckpt")


@pytest.mark.parametrize(
    ("weight", "kind"),
    [
        (torch.ones(2, 3, dtype=torch.int64), "int64"),
        (torch.ones(2, 3, dtype=torch.bool), "bool"),
        (torch.ones(2, 3, dtype=torch.complex64), "complex64"),
        (torch.ones(2, 3).to_sparse(), "sparse_coo"),
        (torch.ones(2, 3).to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8), "qint8"),
        (torch.ones(2, 3, device="meta"), "without values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_weights_that_are_no_real_numbers(weight: torch.Tensor, kind: str) -> None:
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    with pytest.raises(
        CheckpointError, match=rf"here holds weights .*: weight \({kind}\); expected plain float16"
    ):
        load_weights(model, {"weight": weight, "bias": torch.zeros(2)}, "here")
    assert torch.equal(model.weight, before)


def test_a_counter_must_be_a_whole_number() -> None:
    model = nn.BatchNorm1d(2)
    weights = model.state_dict()
    load_weights(model, weights | {"num_batches_tracked": torch.tensor(3, dtype=torch.uint8)}, "here")
    with pytest.raises(CheckpointError, match=r"num_batches_tracked \(float32\)"):
        load_weights(model, weights | {"num_batches_tracked": torch.tensor(3.5)}, "here")


@pytest.mark.parametrize("kind", ["zip", "deflated", "legacy", "safetensors"])
def test_every_truncation_and_many_flipped_bytes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.ckpt"
    tensors = {"a": torch.randn(2, 3), "b": torch.tensor([True])}
    if kind == "safetensors":
        save_safetensors(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind != "legacy")
    content = (packed_again(path) if kind == "deflated" else path).read_bytes()
    damaged = [content[:end] for end in range(0, len(content), max(1, len(content) // 60))]
    for place in range(0, len(content), max(1, len(content) // 150)):
        damaged.append(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :])
    for number, data in enumerate(damaged):
        broken = tmp_path / f"{number}.ckpt"  # a file of its own: torch keeps the last one mapped
        broken.write_bytes(data)
        try:
            read_checkpoint(broken)
        except CheckpointError:
            continue
        broken.unlink()
