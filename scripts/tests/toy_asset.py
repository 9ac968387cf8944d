"""An asset of two files, one with a known checksum, and downloads of it."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import assets

CONTENT = b"a body model" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


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
    return assets.main([str(a) for a in arguments])


def state(name: str, data: Path) -> str:
    return assets.state_of(assets.ASSETS[name], data)
