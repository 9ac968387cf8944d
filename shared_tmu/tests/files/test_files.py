"""Reading only what is a file, and writing only where a file can be: links stay, devices are left alone."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from shared_tmu.errors import ConfigError, InputError, MissingAssetError
from shared_tmu.files import is_file, open_file, read_limited, regular, replacing, write_target, write_text

AS_ROOT = os.geteuid() == 0


def make_socket(path: Path) -> None:
    """A socket at `path`."""
    made = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)  # addresses are short
    try:
        made.bind(path.name)
    finally:
        os.chdir(here)
        made.close()


def make_loop(path: Path) -> None:
    """Two links that lead to each other."""
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (Path.mkdir, "is a folder"),
    "pipe": (os.mkfifo, "is a pipe"),
    "socket": (make_socket, "is a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_only_files_are_opened(tmp_path: Path, kind: str) -> None:
    make, message = NO_FILES[kind]
    make(tmp_path / "x")
    with pytest.raises(ConfigError, match=f"x {message}; expected a file") as error:
        open_file(tmp_path / "x", ConfigError)
    assert "is not a valid path" not in str(error.value)
    assert not is_file(tmp_path / "x")


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    make_loop(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    for path, message in (
        (tmp_path / "loop", "[Ll]evels of symbolic links"),
        (tmp_path / ("n" * 300), "too long"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_file(path, ConfigError)
        assert not is_file(path)
    with pytest.raises(ConfigError, match="is not a valid path"):
        open_file(tmp_path / "a\0b", ConfigError)
    assert not is_file(tmp_path / "a\0b")
    for path, message in (
        (tmp_path / "none", "none is not in .*Ask Anna"),
        (tmp_path / "file" / "below", "below is not in"),
        (tmp_path / "dangling", r"dangling \(a link to nowhere\) is not in"),
    ):
        with pytest.raises(MissingAssetError, match=message):
            open_file(path, ConfigError, "Ask Anna.")


@pytest.mark.skipif(AS_ROOT, reason="root reads everything")
def test_unreadable_files_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "x").write_text("")
    (folder / "x").chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        open_file(folder / "x", ConfigError)
    folder.chmod(0)
    try:
        with pytest.raises(ConfigError, match="Permission denied"):
            open_file(folder / "x", ConfigError)
        assert not is_file(folder / "x")
        with pytest.raises(InputError, match="Permission denied"):
            write_target(folder / "x")
    finally:
        folder.chmod(0o700)


def test_what_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without being an ordinary user."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "x").write_text("")
    for name in ("open", "stat"):
        monkeypatch.setattr(Path, name, refuse)
        with pytest.raises(ConfigError, match="x cannot be read: Permission denied"):
            open_file(tmp_path / "x", ConfigError)
        monkeypatch.undo()


def test_limits(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_limited(tmp_path / "x", 5, ConfigError) == b"12345"
    with pytest.raises(ConfigError, match="larger than the limit of 4 bytes"):
        read_limited(tmp_path / "x", 4, ConfigError)


@pytest.mark.parametrize("kind", NO_FILES)
def test_nothing_but_files_is_replaced(tmp_path: Path, kind: str) -> None:
    make, message = NO_FILES[kind]
    make(tmp_path / "x")
    before = (tmp_path / "x").lstat()
    with pytest.raises(InputError, match=f"{message}, which is not replaced"):
        write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").lstat() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("is_dangling", [False, True])
def test_links_stay_and_what_they_lead_to_is_written(tmp_path: Path, is_dangling: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "real.txt"
    if not is_dangling:
        target.write_text("old")
    (tmp_path / "second").symlink_to(target)
    (tmp_path / "first").symlink_to("second")
    write_text(tmp_path / "first", "new")
    assert target.read_text() == "new"
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["real.txt"]


def test_names_at_the_limit_and_beyond(tmp_path: Path) -> None:
    for name in ("n" * 251 + ".txt", "é" * 125 + ".txt"):
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"
    for path in (tmp_path / ("n" * 300), tmp_path / "a\0b"):
        with pytest.raises(InputError, match="cannot be written"):
            write_text(path, "new")
    make_loop(tmp_path / "loop")
    with pytest.raises(InputError, match=r"cannot be written: .*(circle|symbolic links)"):
        write_text(tmp_path / "loop", "new")


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")

    def write_half() -> None:
        with replacing(tmp_path / "x") as beside:
            beside.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_no_process_is_asked_where_asking_would_end_it(monkeypatch):
    def kill(*_):
        raise AssertionError("on Windows this ends the process")

    monkeypatch.setattr(regular, "IS_POSIX", False)
    monkeypatch.setattr(regular.os, "kill", kill)
    assert regular._is_running(12345)
