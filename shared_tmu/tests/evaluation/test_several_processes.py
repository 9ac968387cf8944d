"""Several processes give what one gives, to the last digit."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_hand_model import toy_program

from shared_tmu.errors import InputError
from shared_tmu.evaluation import main
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.evaluation.store import chunk_bounds
from shared_tmu.evaluation.world import find_world
from shared_tmu.programs.results import read_records

PROGRAM = Path(__file__).with_name("toy_eval.py")
RUNS = ("--r", "off,3x2", "--rounds", "0", "--device", "cpu")
COUNT = 7  # which neither 2 nor 3 divide, and neither does the size of batches


def flags(data_dir, batch_size):
    return (*RUNS, "--dataset", "freihand", "--data_dir", str(data_dir), "--batch_size", str(batch_size))


def found(folder):
    """What each run left: its numbers, errors of samples, and prediction file."""
    results = folder / "results"
    return {
        record["label"]: (
            {name: record[name] for name in ("n", "scores_txt", "pa_mpvpe_mm", "f5", "wrist_mpvpe_mm")},
            {name: v.tolist() for name, v in read_per_sample(results / record["files"]).errors.items()},
            (results / record["files"] / "pred.json").read_bytes(),
            sorted(path.name for path in (results / record["files"]).iterdir()),
        )
        for record in read_records(results / "toy-freihand.jsonl")
    }


@pytest.fixture
def expected(tmp_path, data_dir):
    """The same by one process, for a size of batches."""

    def run(batch_size):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            assert main(toy_program(tmp_path / "one"), [*flags(data_dir, batch_size)]) == 0
        finally:
            torch.set_num_threads(threads)
        return found(tmp_path / "one")

    return run


def environment(**more):
    tests = str(PROGRAM.parents[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": tests, **{k: str(v) for k, v in more.items()}}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*command, **variables):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def assert_ended(process):
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    return out


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two processors")
def test_two_devices_and_batches_that_do_not_divide(tmp_path, data_dir, expected):
    want = expected(3)
    out = assert_ended(start(PROGRAM, tmp_path / "two", *flags(data_dir, 3), "--devices", 2))
    assert found(tmp_path / "two") == want
    for text in ("PA-MPVPE mm  PA-MPJPE mm", "2 of 2 runs to do"):
        assert out.count(text) == 1  # one process reports
    assert want["off"][0]["n"] == COUNT


def test_three_tasks_of_slurm(tmp_path, data_dir, expected):
    want = expected(2)
    shared = {
        "SLURM_NTASKS": 3, "SLURM_NTASKS_PER_NODE": 1, "SLURM_NNODES": 3, "SLURM_JOB_ID": 7,
        "SLURM_JOB_NAME": "evaluation", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(),
    }  # fmt: skip
    tasks = [
        start(
            PROGRAM, tmp_path / "three", *flags(data_dir, 2),
            **shared, SLURM_PROCID=rank, SLURM_LOCALID=0, SLURM_NODEID=rank,
        )
        for rank in range(3)
    ]  # fmt: skip
    for task in tasks:
        assert_ended(task)
    assert found(tmp_path / "three") == want


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(("count", "batch_size"), [(7, 3), (3960, 16), (1, 16), (513, 300)])
def test_chunks_cover_every_sample_once_and_no_batch_is_cut(count, batch_size, processes):
    bounds = chunk_bounds(count, batch_size, processes)
    assert np.concatenate([np.arange(a, b) for a, b in bounds]).tolist() == list(range(count))
    assert all(a % batch_size == 0 for a, _ in bounds)
    batches = -(-count // batch_size)
    assert len(bounds) >= min(batches, processes) // 2 + (processes == 1)


def test_what_was_started_and_what_is_asked_for_must_agree(monkeypatch):
    cpu = torch.device("cpu")
    for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert find_world(1, 1, cpu).size == 1
    with pytest.raises(InputError, match="--devices 9999 was asked for; this machine has"):
        find_world(9999, 1, cpu)
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    for name, value in (("RANK", "2"), ("LOCAL_RANK", "0"), ("GROUP_RANK", "2")):
        monkeypatch.setenv(name, value)
    world = find_world(1, 1, cpu)
    assert (world.size, world.rank, world.num_nodes, world.is_first) == (4, 2, 4, False)
    with pytest.raises(InputError, match="4 processes were started, 1 on each of 4 machines"):
        find_world(3, 1, cpu)
