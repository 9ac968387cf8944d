"""Results, per-sample files and sets that are damaged or not what they should be: found before computing."""

import json
import os
import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from freihand_folder import write_freihand
from pyarrow import parquet
from toy_hand_model import ToyHand, toy_program

from shared_tmu.datasets import SetOptions, check_dataset, open_dataset
from shared_tmu.errors import InputError, TMUError
from shared_tmu.evaluation import main
from shared_tmu.evaluation.store import RunFolder
from shared_tmu.programs.results import read_records


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_freihand(folder / "freihand", count=7, size_px=56)
    return folder


@pytest.fixture
def run(tmp_path, data_dir):
    """Run a command line; returns status, records and the model."""

    def call(*flags, model=None, data_dir=data_dir):
        model = model or ToyHand()
        common = [
            "--dataset",
            "freihand",
            "--data_dir",
            str(data_dir),
            "--batch_size",
            "3",
            "--device",
            "cpu",
        ]
        status = main(toy_program(tmp_path / "toy", model), [*common, "--rounds", "0", *flags])
        return status, records(tmp_path), model

    return call


def lines(tmp_path):
    return tmp_path / "toy" / "results" / "toy-freihand.jsonl"


def records(tmp_path):
    return read_records(lines(tmp_path)) if lines(tmp_path).is_file() else []


@pytest.mark.parametrize("kind", ["folder", "fifo", "nowhere", "circle"])
def test_a_results_file_that_cannot_be_written_is_found_first(run, tmp_path, caplog, kind):
    path = lines(tmp_path)
    path.parent.mkdir(parents=True)
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "nowhere":
            path.symlink_to("/proc/nowhere/x.jsonl")
        case "circle":
            path.symlink_to(path.name)
    status, _, model = run("--r", "3x2")
    assert (status, model.calls) == (1, 0)
    assert "InputError" in caplog.text
    assert os.path.lexists(path)


def test_a_dangling_link_is_written_through(run, tmp_path):
    path = lines(tmp_path)
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "kept.jsonl")
    status, found, _ = run("--r", "3x2")
    assert (status, len(found)) == (0, 1)
    assert path.is_symlink()
    assert (tmp_path / "kept.jsonl").stat().st_size > 100


ODD = [
    '{"key": ["a"]}', '{"key": {"a": 1}}', '{"key": null}', '{"key": 7}', "[]", "null", '"text"', "7",
    "[" * 100_000, '{"key": 1e999}', "\x00\x01", '{"a": ' + "9" * 5000 + "}",
]  # fmt: skip


def test_odd_lines_are_left_out(run, tmp_path):
    path = lines(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(ODD) + "\n")
    assert run("--r", "3x2")[0] == 0
    status, _, model = run("--r", "3x2")
    assert (status, model.calls) == (0, 0)


@pytest.mark.parametrize(
    "field", ["label", "tokens", "tokens_kept", "pa_mpvpe_mm", "f5", "n", "files", "machine"]
)
def test_a_line_without_numbers_is_evaluated_again(run, tmp_path, field):
    _, (record,), _ = run("--r", "3x2")
    for value in (None, []) if field in ("label", "files") else (None, [], "x"):
        lines(tmp_path).write_text(json.dumps({**record, field: value}) + "\n")
        status, found, model = run("--r", "3x2")
        assert status == 0
        assert model.calls > 0
        assert found[-1]["pa_mpvpe_mm"] == record["pa_mpvpe_mm"]


def damage(path, how):
    content = path.read_bytes()
    match how:
        case "empty":
            path.write_bytes(b"")
        case "half":
            path.write_bytes(content[: len(content) // 2])
        case "text":
            path.write_bytes(b"no archive")
        case "flipped":
            path.write_bytes(content[:200] + bytes(255 - b for b in content[200:260]) + content[260:])
        case "others":
            parquet.write_table(pa.table({"other": [0.0]}), path)
        case "twice":
            table = parquet.read_table(path)
            parquet.write_table(pa.concat_tables([table, table]), path)
        case "texts":
            table = parquet.read_table(path)
            parquet.write_table(table.append_column("more", pa.array(["a"] * len(table))), path)
        case "unsaid":
            parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), path)
        case "folder":
            path.unlink()
            path.mkdir()


@pytest.mark.parametrize("how", ["empty", "half", "text", "flipped", "others", "twice", "texts", "unsaid"])
def test_a_damaged_file_of_off_stops_nothing(run, tmp_path, how, caplog):
    _, (off,), _ = run("--r", "off")
    path = lines(tmp_path).parent / off["files"] / "per_sample.parquet"
    damage(path, how)
    status, found, _ = run("--r", "3x2")
    assert status == 0
    assert found[-1]["minus_off_interval_95"] is None
    status, found, model = run("--r", "off,5x2")  # is evaluated again, which mends it
    assert status == 0
    assert model.calls > 0
    assert "is damaged; its schedule is evaluated again" in caplog.text
    assert found[-1]["minus_off_interval_95"]["pa_mpvpe_mm"]


def test_predictions_that_another_run_tidied_up_are_made_again(run, tmp_path, monkeypatch):
    """A run that began earlier ends while ours has found its chunks, but not read them."""
    want = run("--r", "3x2")[1][0]
    real, gone = RunFolder.load, threading.Event()
    shutil.rmtree(lines(tmp_path).parent)

    def load(self, chunk):
        found = real(self, chunk)
        if found is not None and not gone.is_set():
            gone.set()
            self.drop_chunks()
            return None
        return found

    monkeypatch.setattr(RunFolder, "load", load)
    status, found, _ = run("--r", "3x2")
    assert gone.is_set()
    assert status == 0
    assert found[-1]["pa_mpvpe_mm"] == want["pa_mpvpe_mm"]


def test_predictions_that_never_stay_are_said(run, monkeypatch, caplog):
    monkeypatch.setattr(RunFolder, "load", lambda self, chunk: None)
    status, found, _ = run("--r", "3x2")
    assert (status, found) == (1, [])
    assert "are removed while they are read" in caplog.text


@pytest.mark.parametrize("kind", ["nowhere", "circle", "folder"])
def test_a_picture_that_leads_nowhere_is_named(run, tmp_path, data_dir, caplog, kind):
    shutil.copytree(data_dir, tmp_path / "broken")
    picture = tmp_path / "broken" / "freihand" / "evaluation" / "rgb" / "00000004.jpg"
    picture.unlink()
    match kind:
        case "nowhere":
            picture.symlink_to(tmp_path / "gone.jpg")
        case "circle":
            picture.symlink_to(picture.name)
        case "folder":
            picture.mkdir()
    status, found, _ = run("--r", "3x2", data_dir=tmp_path / "broken")
    assert (status, found) == (1, [])
    assert "00000004.jpg" in caplog.text


@pytest.mark.parametrize("name", ["evaluation_K.json", "evaluation_xyz.json"])
@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000, "[" * 200_000 + "]" * 200_000, "9" * 400, "[[[" + "9" * 400 + "]]]", "9" * 5000,
        "1e308", "{}", "null", "[]", "[null]", '"text"', "", "\x00", "NaN", '{"a": [1]}', "[[1], [1, 2]]",
    ],
)  # fmt: skip
def test_annotations_that_are_none_are_refused_by_name(tmp_path, data_dir, name, content):
    root = tmp_path / "freihand"
    shutil.copytree(data_dir / "freihand", root)
    (root / name).write_text(content)
    with pytest.raises(InputError, match=name):
        open_dataset("freihand", tmp_path, SetOptions())


@pytest.mark.parametrize("value", [1e308, -1e300, 1e7])
def test_numbers_that_are_no_metres_are_refused(tmp_path, data_dir, value):
    root = tmp_path / "freihand"
    shutil.copytree(data_dir / "freihand", root)
    content = json.loads((root / "evaluation_xyz.json").read_text())
    content[3][5][1] = value
    (root / "evaluation_xyz.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"evaluation_xyz\.json holds numbers above .* sample 3"):
        open_dataset("freihand", tmp_path, SetOptions())


@pytest.mark.parametrize(
    "place", ["x" * 300, "a\0b", "~nobody_of_this_name/x", "loop", "file", "/proc/self/mem"]
)
@pytest.mark.parametrize("name", ["freihand", "photos", "ehf"])
def test_places_that_cannot_be_looked_up_are_said(tmp_path, name, place):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("x")
    if name == "photos" and place in ("file", "/proc/self/mem"):
        pytest.skip("a single file may be a picture")
    folder = Path(place) if place[0] in "~/" else tmp_path / place
    with pytest.raises(TMUError) as caught:
        check_dataset(name, folder, SetOptions())
    assert len(str(caught.value).splitlines()) == 1
