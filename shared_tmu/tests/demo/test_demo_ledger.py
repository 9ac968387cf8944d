"""The output folder: what is trusted, what is written over, and what an evil note can do (nothing)."""

import json
import os

import pytest

from shared_tmu.demo.ledger import OutputFolder, ResultError
from shared_tmu.errors import InputError


def test_the_ledger_trusts_only_what_is_whole_and_the_same(tmp_path):
    with OutputFolder(tmp_path / "out", "o1") as folder:
        folder.commit("a", "d1", {"a_0.png": b"123", "a_1.png": b"4"}, 2, 100, ["box 3 is bad"])
        note = folder.finished("a", "d1")
        assert (note.found, note.pixels, note.problems) == (2, 100, ("box 3 is bad",))
        assert folder.finished("a", "d2") is None
        assert folder.finished("b", "d1") is None
        folder.commit("a", "d1", {"a_0.png": b"567"}, 1, 100)
        assert not (tmp_path / "out" / "a_1.png").exists()
        folder.options = "o2"
        assert folder.finished("a", "d1") is None
        folder.options = "o1"
        (tmp_path / "out" / "a_0.png").write_bytes(b"5")
        assert folder.finished("a", "d1") is None
        (tmp_path / "out" / ".finished" / "a.json").write_text("{")
        assert folder.finished("a", "d1") is None
    assert not (tmp_path / "out" / ".staging").exists()


def test_a_stopped_commit_is_not_finished_and_is_cleared_by_the_next(tmp_path, monkeypatch):
    with OutputFolder(tmp_path, "o") as folder:
        folder.commit("a", "d", {"a_0.png": b"1", "a_1.png": b"1"}, 2, 1)
        written = []

        def stop_after_two(path, content):
            written.append(path.name)
            if len(written) == 3:
                raise KeyboardInterrupt
            path.write_bytes(content)

        with monkeypatch.context() as patched:
            patched.setattr(folder, "_replace", stop_after_two)
            with pytest.raises(KeyboardInterrupt):
                folder.commit("a", "d", {"a_0.png": b"2", "a_2.png": b"2", "a_3.png": b"2"}, 3, 1)
        assert written == ["a.json", "a_0.png", "a_2.png"]
        assert folder.finished("a", "d") is None
        folder.commit("a", "d", {"a_5.png": b"3"}, 1, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".finished", "a_5.png"]


def test_folders_that_cannot_be_written_to_say_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(InputError, match="cannot be written to"):
            OutputFolder(folder, "o")
    with OutputFolder(tmp_path / "out", "o"), pytest.raises(InputError, match="another run"):
        OutputFolder(tmp_path / "out", "o")


def test_a_full_disk_says_what_is_safe(tmp_path, monkeypatch):
    with OutputFolder(tmp_path, "o") as folder:
        folder.commit("a", "d", {"a.npz": b"1"}, 1, 1)

        def full(path, content):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(folder, "_replace", full)
        with pytest.raises(InputError, match=r"No space left.*--resume"):
            folder.commit("b", "d", {"b.npz": b"1"}, 1, 1)
        assert folder.finished("a", "d") is not None


def noted(out, **changes):
    """The note of `a`, changed."""
    path = out / ".finished" / "a.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


@pytest.fixture
def out(tmp_path):
    """A folder in which image `a` is done."""
    with OutputFolder(tmp_path / "out", "o") as folder:
        folder.commit("a", "d", {"a_0.png": b"1"}, 1, 1)
    return tmp_path / "out"


@pytest.mark.parametrize(
    "name",
    ["../victim.txt", "{tmp}/victim.txt", "a_/../../victim.txt", "b_0.png", "victim.txt", "a", "..", ""],
)
def test_a_note_names_nothing_but_results_of_its_image(out, tmp_path, caplog, name):
    victims = [tmp_path / "victim.txt", out / "victim.txt", out / "b_0.png"]
    for victim in victims:
        victim.write_bytes(b"123456789")
    stamp = [9, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"]  # theirs
    noted(out, files={name.format(tmp=tmp_path): stamp})
    with OutputFolder(out, "o") as folder:
        assert folder.finished("a", "d") is None
        folder.commit("a", "d", {"a_0.png": b"1"}, 1, 1)
    assert "a.json is ignored" in caplog.text
    assert all(victim.read_bytes() == b"123456789" for victim in victims)
    assert (out / "a_0.png").read_bytes() == b"1"


@pytest.mark.parametrize(
    "changes",
    [{"found": 10**9}, {"found": -1}, {"found": True}, {"found": "1"}, {"pixels": 1e9}, {"pixels": 10**30},
     {"files": ["a_0.png"]}, {"files": {"a_0.png": 1}}, {"files": {"a_0.png": [-1, "x"]}}, {"digest": None},
     {"problems": "none"}, {"problems": [1]}, {"more": 1}, {"replaced": 3}],
)  # fmt: skip
def test_a_note_of_wrong_values_is_ignored(out, caplog, changes):
    noted(out, **changes)
    with OutputFolder(out, "o") as folder:
        assert folder.finished("a", "d") is None
    assert "a.json is ignored" in caplog.text


@pytest.mark.parametrize("kind", ["deep", "empty", "long", "zero", "fifo", "folder", "text"])
def test_what_is_no_note_is_ignored(out, tmp_path, caplog, kind):
    path = out / ".finished" / "a.json"
    path.unlink()
    match kind:
        case "deep":
            path.write_text("[" * 200_000)
        case "empty":
            path.write_bytes(b"")
        case "long":
            path.touch()
            os.truncate(path, 1 << 40)
        case "zero":
            path.symlink_to("/dev/zero")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "text":
            path.write_bytes(b"\xff\xfe not JSON")
    with OutputFolder(out, "o") as folder:
        assert folder.finished("a", "d") is None
        assert caplog.text.count("a.json is ignored") == 1


@pytest.mark.parametrize("options", ["o", "other"])
@pytest.mark.parametrize("kind", ["theirs", "edited", "link", "dangling", "folder"])
def test_what_is_not_ours_is_never_written_over(out, tmp_path, kind, options):
    """Neither by the same run nor by one with other options; other images go on."""
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"1")
    path = out / "a_0.png"
    if kind not in ("theirs", "edited"):
        path.unlink()
    match kind:
        case "theirs":
            path = out / "a_1.png"
            path.write_bytes(b"mine")
        case "edited":
            path.write_bytes(b"9")
        case "link":
            path.symlink_to(theirs)
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
        case "folder":
            path.mkdir()
    with OutputFolder(out, options) as folder:
        with pytest.raises(ResultError, match=f"{path.name}.*not written by this program"):
            folder.commit("a", "d", {"a.npz": b"4", "a_0.png": b"2", "a_1.png": b"3"}, 1, 1)
        folder.commit("b", "d", {"b_0.png": b"2"}, 1, 1)
    assert (path.is_symlink(), path.is_dir()) == (kind in ("link", "dangling"), kind == "folder")
    assert path.is_dir() or kind == "dangling" or path.read_bytes() in (b"mine", b"9", b"1")
    assert theirs.read_bytes() == b"1"
    assert not (out / "a.npz").exists()
    assert (out / "b_0.png").read_bytes() == b"2"


def test_a_result_without_successor_stays_if_somebody_changed_it(out, caplog):
    (out / "a_0.png").write_bytes(b"9")
    with OutputFolder(out, "o") as folder:
        folder.commit("a", "d", {"a.npz": b"1"}, 0, 1)
    assert (out / "a_0.png").read_bytes() == b"9"
    assert "a_0.png" in caplog.text


def test_without_its_note_an_equal_result_is_no_loss(out):
    (out / ".finished" / "a.json").unlink()
    with OutputFolder(out, "o") as folder:
        folder.commit("a", "d", {"a_0.png": b"1"}, 1, 1)
        assert folder.finished("a", "d") is not None


@pytest.mark.parametrize("place", [".finished", ".staging", "sub", ".finished/sub"])
def test_no_link_leads_out_of_the_folder(tmp_path, place):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "theirs").write_bytes(b"1")
    (out / place).parent.mkdir(parents=True)
    (out / place).symlink_to(outside)

    def write():
        with OutputFolder(out, "o") as folder:
            folder.commit("sub/a", "d", {"sub/a_0.png": b"1"}, 1, 1)

    with pytest.raises(InputError, match="is a link"):
        write()
    assert [path.name for path in outside.iterdir()] == ["theirs"]


def test_a_staging_folder_of_the_users_is_left_alone(tmp_path):
    (tmp_path / ".staging").mkdir()
    (tmp_path / ".staging" / "theirs").write_bytes(b"1")
    with pytest.raises(InputError, match="not made by this program"):
        OutputFolder(tmp_path, "o")
    assert (tmp_path / ".staging" / "theirs").read_bytes() == b"1"


def test_names_too_long_for_the_file_system_concern_one_image(tmp_path):
    with OutputFolder(tmp_path, "o") as folder:
        with pytest.raises(ResultError, match="too long"):
            folder.commit("a" * 250, "d", {f"{'a' * 250}_0.png": b"1"}, 1, 1)
        folder.commit("b", "d", {"b_0.png": b"2"}, 1, 1)
