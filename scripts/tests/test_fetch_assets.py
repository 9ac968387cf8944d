"""fetch_assets.py: places what the user downloaded, refuses damaged files, never leaves half a file."""

import errno
import hashlib
import io
import os
import re
import tarfile
import zipfile
from pathlib import Path

import fetch_assets
import pytest

CONTENT = b"a body model" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def asset(monkeypatch: pytest.MonkeyPatch) -> str:
    """Put an asset of two parts, one with a known checksum, into the table."""
    parts = (
        fetch_assets.AssetPart("model.pkl", "toy/checkpoints", r"model\.pkl", DIGEST),
        fetch_assets.AssetPart("config.yaml", "toy", r"config\.yaml"),
    )
    toy = fetch_assets.Asset("a toy", "free for tests", "nowhere", parts, "nothing")
    monkeypatch.setitem(fetch_assets.ASSETS, "toy", toy)
    return "toy"


def download(kind: str, folder: Path, content: bytes = CONTENT) -> Path:
    """Write the two parts as a folder, a zip or a tar.gz, inside other folders and beside other files."""
    files = {"x/toy/model.pkl": content, "x/config.yaml": b"a: 1\n", "x/._model.pkl": b"junk", "readme": b""}
    if kind == "folder":
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder / "x"
    source = folder / f"download.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(source, "w:gz") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return source


def run(*arguments: object) -> int:
    return fetch_assets.main([str(a) for a in arguments])


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_places_the_parts_of_a_download(kind: str, asset: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    data = tmp_path / "data"
    assert run(asset, "--from", download(kind, tmp_path / "in"), "--data_dir", data) == 0
    placed = {p.relative_to(data).as_posix(): p.read_bytes() for p in data.rglob("*") if p.is_file()}
    assert placed == {"toy/checkpoints/model.pkl": CONTENT, "toy/config.yaml": b"a: 1\n"}
    assert fetch_assets.state_of(fetch_assets.ASSETS[asset], data, verify=True) == "present"


def test_places_a_checkpoint_that_is_itself_a_zip_file(
    asset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.pkl"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("data.pkl", b"weights")
    part = fetch_assets.AssetPart("model.pkl", "toy", r"model\.pkl")
    monkeypatch.setitem(fetch_assets.ASSETS, asset, fetch_assets.Asset("a", "b", "c", (part,), "d"))
    assert run(asset, "--from", source, "--data_dir", tmp_path / "data") == 0
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
    assert run(asset, "--from", source, "--data_dir", data) == 1
    assert DIGEST in capsys.readouterr().err
    assert target.read_bytes() == CONTENT
    assert not list(data.rglob("*.part"))
    assert run(asset, "--from", source, "--data_dir", data, "--force") == 0
    assert target.read_bytes() == b"another version"
    assert fetch_assets.state_of(fetch_assets.ASSETS[asset], data, verify=True) == "damaged"


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
        (other, "there is no model.pkl or config.yaml"),
        (cut, "damaged"),
        (alone, "1 file(s) placed; not in"),
    ]:
        assert run(asset, "--from", source, "--data_dir", data) == 1
        assert message in capsys.readouterr().err
    assert not list(data.rglob("*.part"))


@pytest.mark.parametrize("name", sorted(fetch_assets.ASSETS))
def test_says_licence_and_address_of_every_asset(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, "--data_dir", tmp_path) == 0
    out = capsys.readouterr().out
    assert "missing" in out
    assert "https://" in out
    assert fetch_assets.ASSETS[name].licence in out
    assert run("--data_dir", tmp_path) == 0
    assert name in capsys.readouterr().out


def test_needs_a_name_for_a_source(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run("--from", tmp_path)


def refused(asset: str, source: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence about `source`, of which nothing is kept."""
    assert run(asset, "--from", source, "--data_dir", data) == 1
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
        ((8, 10), 99, "does not unpack"),
        ((8, 10), 14, "damaged|cannot be read|does not unpack"),
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
    run(asset, "--from", tmp_path / "x.zip", "--data_dir", tmp_path / "deep" / "data")
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".zip"]
    assert files == [tmp_path / "deep/data/toy/checkpoints/model.pkl"]


def test_an_archive_that_unpacks_to_far_too_much(
    asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_assets, "MIN_UNPACKED_BYTES", 1 << 16)
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
        run(asset, "--from", source, "--data_dir", tmp_path / "data")
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
    assert run("--data_dir", tmp_path) == 1
    out, err = capsys.readouterr()
    assert re.search(r"^mano +unreadable ", out, re.M)
    assert re.search(r"^toy +incomplete ", out, re.M)
    assert err == f"error: cannot look into {tmp_path / 'mano'} (Permission denied).\n"
