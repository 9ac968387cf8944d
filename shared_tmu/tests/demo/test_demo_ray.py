"""A run on a Ray cluster of two machines gives the files of a run on one, whatever happens to its workers."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from dying_hand import dying_program
from toy_demo import contents, run, write_boxes, write_pictures

from shared_tmu.demo import distributing

pytest.importorskip("ray.data", reason="Ray Data is not installed")

BATCH = 2
PORTION = 4 * BATCH
NAMES = [f"{index:02d}.png" for index in range(3 * PORTION - 2)]  # the last portion is not full
BAD = NAMES[PORTION + 1]


@pytest.fixture(scope="module")
def address():
    """Address of a cluster of two machines with one CPU each."""
    from ray.cluster_utils import Cluster

    tests = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patched:
        paths = [str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]
        patched.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        patched.setenv("RAY_worker_niceness", "0")  # by default workers wait for all else on this machine
        cluster = Cluster()
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
        yield cluster.address
        cluster.shutdown()


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def dying(tmp_path):
    return dying_program(tmp_path / "model")


@pytest.fixture
def many(tmp_path):
    """Pictures of three portions with one or two hands each, one of them damaged, and their boxes."""
    box = [{"box_xyxy": [2, 3, 38, 27], "is_right": True}, {"box_xyxy": [5, 1, 30, 28], "is_right": False}]
    folder = write_pictures(tmp_path / "many", dict.fromkeys(NAMES, (40, 30)))
    (folder / BAD).write_bytes(b"no picture")
    boxes = {name: box[: 1 + (index % 3 == 0)] for index, name in enumerate(NAMES)}
    return folder, write_boxes(tmp_path / "many.json", boxes)


def go(program, many, out, *flags):
    return run(program, many[0], out, "--batch_size", BATCH, "--save_mesh", *flags, boxes=many[1])


def problems(text):
    """The list of problems of a closing table."""
    return text.partition("everything else was processed:")[2].partition("Overlays")[0]


def test_a_killed_worker_changes_no_file(dying, many, out, tmp_path, address, one_thread, capsys, caplog):
    assert go(dying, many, tmp_path / "local") == 1
    listed = problems(capsys.readouterr().out)
    assert BAD in listed
    (tmp_path / "model" / "die").touch()
    assert go(dying, many, out, "--engine", "ray", "--ray_address", address) == 1
    assert (tmp_path / "model" / "died").exists()
    told = capsys.readouterr().out
    assert problems(told) == listed
    assert f"{len(NAMES) - 1} of {len(NAMES)} images" in told
    assert contents(out) == contents(tmp_path / "local")
    assert sum(BAD in record.getMessage() for record in caplog.records) == 2  # once by each run

    untouched = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    lost = out / f"{NAMES[-1][:2]}.npz"
    lost.unlink()
    assert go(dying, many, out, "--engine", "ray", "--ray_address", address, "--resume") == 1
    told = capsys.readouterr().out
    assert problems(told) == listed
    assert f"(and {len(NAMES) - 2} kept from an earlier run)" in told
    assert contents(out) == contents(tmp_path / "local")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npz") if path != lost} == {
        path: at for path, at in untouched.items() if path != lost
    }


def test_a_picture_that_kills_every_worker_is_listed_and_the_rest_is_done(
    dying, many, out, address, one_thread, capsys, monkeypatch
):
    monkeypatch.setattr(distributing, "RETRIES", 0)
    cv2.imwrite(str(many[0] / NAMES[-1]), np.full((30, 40, 3), 255, np.uint8))
    assert go(dying, many, out, "--engine", "ray", "--ray_address", address) == 1
    told = problems(capsys.readouterr().out)
    last = NAMES[2 * PORTION :]
    assert all(f"{name}: its worker died" in told for name in last)
    assert told.count("\n  ") == len(last) + 1
    assert BAD in told
    assert sorted(path.stem for path in out.glob("*.npz")) == [
        n[:2] for n in NAMES[: 2 * PORTION] if n != BAD
    ]


def test_a_worker_that_would_give_other_results_is_refused(
    dying, many, out, address, one_thread, caplog, monkeypatch
):
    monkeypatch.setattr(distributing, "identity_of", lambda *given: "another")
    assert go(dying, many, out, "--engine", "ray", "--ray_address", address) == 1
    assert "has other weights, files of the detector, code or versions" in caplog.text
    assert not out.exists()


def test_no_machine_of_the_cluster_is_large_enough(dying, many, out, address, monkeypatch, caplog):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert go(dying, many, out, "--engine", "ray", "--ray_address", address) == 1
    assert "no machine of the cluster (2) offers 5 CPUs, the threads of this process" in caplog.text
    assert not out.exists()
