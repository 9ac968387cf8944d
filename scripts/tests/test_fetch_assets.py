"""fetch_assets.py: places what the user downloaded, refuses damaged files, never leaves half a file."""

import hashlib
import io
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
