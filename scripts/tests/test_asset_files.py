"""assets.py place: takes what a user downloaded, refuses damage, never leaves half a file."""

import errno
import os
import re
import tarfile
import zipfile
from pathlib import Path

import asset_files
import asset_table
import pytest
from toy_asset import CONTENT, DIGEST, download, run, state

import assets


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_places_the_parts_of_a_download(kind: str, asset: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    data = tmp_path / "data"
    assert run("place", asset, "--from", download(kind, tmp_path / "in"), "--data_dir", data) == 0
    placed = {p.relative_to(data).as_posix(): p.read_bytes() for p in data.rglob("*") if p.is_file()}
    assert placed == {"toy/checkpoints/model.pkl": CONTENT, "toy/config.yaml": b"a: 1\n"}
    assert state(asset, data) == "found"
    assert run("verify", asset, "--data_dir", data) == 0


def test_places_a_checkpoint_that_is_itself_a_zip_file(
    asset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.pkl"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("data.pkl", b"weights")
    part = asset_table.AssetPart("model.pkl", "toy", r"model\.pkl")
    monkeypatch.setitem(assets.ASSETS, asset, asset_table.Asset("a", "b", "c", (part,), "d"))
    assert run("place", asset, "--from", source, "--data_dir", tmp_path / "data") == 0
    assert (tmp_path / "data/toy/model.pkl").read_bytes() == source.read_bytes()


def test_refuses_a_wrong_checksum_and_keeps_what_was_there(
    asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    target = data / "toy/checkpoints/model.pkl"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    (tmp_path / "in").mkdir()
    source = download("zip", tmp_path / "in", b"another version")
    assert run("place", asset, "--from", source, "--data_dir", data) == 1
    assert DIGEST in capsys.readouterr().err
    assert target.read_bytes() == CONTENT
    assert not list(data.rglob("*.part"))
    assert run("place", asset, "--from", source, "--data_dir", data, "--force") == 0
    assert target.read_bytes() == b"another version"
    assert state(asset, data) == "found"
    assert run("verify", "--data_dir", data) == 1
    assert re.search(r"^toy +damaged: SHA-256 +toy/checkpoints/model.pkl", capsys.readouterr().out, re.M)


def test_says_what_is_wrong_with_a_source(
    asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    other = tmp_path / "other.txt"
    other.write_text("something else")
    cut = tmp_path / "cut.tar.gz"
    (tmp_path / "in").mkdir()
    whole = download("tar.gz", tmp_path / "in").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    alone = tmp_path / "model.pkl"
    alone.write_bytes(CONTENT)
    for source, message in [
        (tmp_path / "nothing.zip", "does not exist"),
        (other, "does not contain model.pkl or config.yaml"),
        (cut, "damaged"),
        (alone, "1 file(s) placed; not found in"),
    ]:
        assert run("place", asset, "--from", source, "--data_dir", data) == 1
        assert message in capsys.readouterr().err
    assert not list(data.rglob("*.part"))


def refused(asset: str, source: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence about `source`, of which nothing is kept."""
    assert run("place", asset, "--from", source, "--data_dir", data) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not [path for path in data.rglob("*") if path.is_file()]
    return err


def zip_of(path: Path, name: str = "model.pkl", method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    """An archive of one part, as bytes to be changed."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, CONTENT)
    return bytearray(path.read_bytes())


@pytest.mark.parametrize(
    ("offsets", "value", "message"),
    [
        ((6, 8), 1, "is encrypted"),
        ((8, 10), 99, "cannot unpack"),
        ((8, 10), 14, "damaged|cannot be read|cannot unpack"),
        ((8, 10), 12, "damaged|cannot"),
    ],
    ids=["encrypted", "unknown method", "as if LZMA", "as if bzip2"],
)
def test_zip_members_that_cannot_be_unpacked(
    offsets: tuple[int, int], value: int, message: str, asset: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    content = zip_of(tmp_path / "x.zip")
    content[offsets[0]] = value
    content[content.rfind(b"PK\x01\x02") + offsets[1]] = value
    (tmp_path / "x.zip").write_bytes(content)
    assert re.search(message, refused(asset, tmp_path / "x.zip", tmp_path / "data", capsys))


def test_corrupt_lzma_and_undecodable_names(
    asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = zip_of(tmp_path / "x.zip", method=zipfile.ZIP_LZMA)
    content[45:60] = b"\xff" * 15
    (tmp_path / "x.zip").write_bytes(content)
    refused(asset, tmp_path / "x.zip", tmp_path / "data", capsys)
    content = zip_of(tmp_path / "x.zip", "\u00e9/model.pkl")
    (tmp_path / "x.zip").write_bytes(content.replace("\u00e9".encode(), b"\xff\xfe"))
    refused(asset, tmp_path / "x.zip", tmp_path / "data", capsys)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_tar_members_that_are_no_files(
    kind: bytes, asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("x/model.pkl")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    assert "is a link" in refused(asset, tmp_path / "x.tar", tmp_path / "data", capsys)


@pytest.mark.parametrize("name", ["../../model.pkl", "/elsewhere/model.pkl", "a/../../../model.pkl"])
def test_names_cannot_lead_out_of_the_folder(name: str, asset: str, tmp_path: Path) -> None:
    zip_of(tmp_path / "x.zip", name)
    run("place", asset, "--from", tmp_path / "x.zip", "--data_dir", tmp_path / "deep" / "data")
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".zip"]
    assert files == [tmp_path / "deep/data/toy/checkpoints/model.pkl"]


def test_an_archive_that_unpacks_to_far_too_much(
    asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_files, "MIN_UNPACKED_BYTES", 1 << 16)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.pkl", bytes(10_000_000))
    assert "would unpack to 10000000 bytes" in refused(asset, tmp_path / "x.zip", tmp_path / "data", capsys)


def test_places_that_are_no_downloads(
    asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "loop").symlink_to("loop")
    for source in (tmp_path / "pipe.zip", tmp_path / "loop", Path("/dev/zero"), tmp_path / ("n" * 300)):
        refused(asset, source, tmp_path / "data", capsys)
    (tmp_path / "model.pkl").write_bytes(CONTENT)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in refused(asset, tmp_path / "model.pkl", tmp_path / "data", capsys)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_every_truncation(kind: str, asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = download(kind, tmp_path)
    content = source.read_bytes()
    for end in range(0, len(content) - 1, 40):
        source.write_bytes(content[:end])
        run("place", asset, "--from", source, "--data_dir", tmp_path / "data")
        assert "Traceback" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_looked_into_does_not_end_the_list(
    asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an ordinary user meets it; root may look everywhere."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.yaml").write_text("a: 1\n")
    look = Path.rglob

    def refuse(self: Path, pattern: str) -> object:
        if self.name == "mano":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return look(self, pattern)

    monkeypatch.setattr(Path, "rglob", refuse)
    assert run("status", "--data_dir", tmp_path) == 1
    out, err = capsys.readouterr()
    assert re.search(r"^mano +unreadable ", out, re.M)
    assert re.search(r"^toy +incomplete ", out, re.M)
    assert err == f"error: cannot read {tmp_path / 'mano'} (Permission denied).\n"


def test_a_file_of_another_set_does_not_replace_one_without_a_checksum(
    asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, data = download("folder", tmp_path / "in"), tmp_path / "data"
    command = ("place", asset, "--from", source, "--data_dir", data)
    assert [run(*command), run(*command)] == [0, 0]
    (source / "config.yaml").write_bytes(b"b: 2\n")
    assert run(*command) == 1
    assert "config.yaml already exists with other contents" in capsys.readouterr().err
    assert (data / "toy/config.yaml").read_bytes() == b"a: 1\n"
    assert run(*command, "--force") == 0
    assert (data / "toy/config.yaml").read_bytes() == b"b: 2\n"
