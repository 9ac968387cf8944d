"""Signals, full disks, damaged checkpoints and losses that are no numbers: what training leaves, and says."""

import os
import resource
import signal
import time
from multiprocessing import get_context, set_start_method

import pytest
import torch
import toy_training
from toy_training import STAGES, TASK, Model, setting, train, train_apart

from shared_tmu.errors import CheckpointError, TrainingError
from shared_tmu.files import drop_halves
from shared_tmu.training.checkpointing import BEFORE, LAST, WholeCheckpoints, is_whole, newest_checkpoint
from shared_tmu.training.curve import read_curve
from shared_tmu.training.stages import load_newest
from shared_tmu.training.time_limit import Clock

pytestmark = pytest.mark.usefixtures("small_shards")


def step_of(path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_keeps_a_checkpoint_and_ends_with_a_status(tmp_path, name, capfd):
    process = get_context("forkserver").Process(
        target=train_apart, args=(tmp_path, 0.05, {}), kwargs={"val_every": 20, "save_every": 1000}
    )
    process.start()
    first = tmp_path / "out" / "first"
    deadline = time.monotonic() + 120
    while not (first / "stage.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.6)
    began = time.monotonic()
    os.kill(process.pid, getattr(signal, name))
    process.join(30)
    assert process.exitcode == 128 + getattr(signal, name)
    assert time.monotonic() - began < 15
    assert "Traceback" not in capfd.readouterr().err
    assert not (first / "done.safetensors").exists()
    assert not list(tmp_path.rglob(".*part*"))
    if (first / LAST).exists():  # otherwise it was told to stop before its first step
        assert step_of(first / LAST) > 0
    train(tmp_path)
    rows = [row for row in read_curve(tmp_path / "out" / "curve.csv") if row["stage"] == "first"]
    assert int(rows[-1]["step"]) == 20


def train_in_a_group(*given, **changes):
    os.setpgrp()
    set_start_method("fork", force=True)  # as in a program: this process has that of its test
    train_apart(*given, **changes)


def test_a_signal_to_all_processes_lets_the_step_end(tmp_path, capfd):
    """`timeout` and clusters signal the processes that load pictures, too."""
    options = {"val_every": 20, "save_every": 1, "workers": 1}
    process = get_context("forkserver").Process(
        target=train_in_a_group, args=(tmp_path, 0.3, {}), kwargs=options
    )
    process.start()
    last = tmp_path / "out" / "first" / LAST
    deadline = time.monotonic() + 120
    while not last.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 128 + signal.SIGTERM
    assert "Traceback" not in capfd.readouterr().err


def stop_at(monkeypatch, step, signum=signal.SIGTERM):
    """Send this process a signal in the middle of a step."""
    real = toy_training.Training.training_step

    def stepped(self, batch, index):
        if self.global_step == step:
            os.kill(os.getpid(), signum)
        return real(self, batch, index)

    monkeypatch.setattr(toy_training.Training, "training_step", stepped)
    return real


@pytest.mark.parametrize("step", [0, 3, 4, 19])
def test_stopped_at_any_step_it_goes_on_to_the_same_end(tmp_path, monkeypatch, step):
    from shared_tmu.training.stopping import Stopped

    want = train(tmp_path / "whole", STAGES[:1]).state_dict()
    rows = [row["val/pa_mpvpe_mm"] for row in read_curve(tmp_path / "whole" / "out" / "curve.csv")]
    real = stop_at(monkeypatch, step)
    with pytest.raises(Stopped) as caught:
        train(tmp_path, STAGES[:1], save_every=1000)
    assert (caught.value.name, caught.value.status) == ("SIGTERM", 143)
    assert step_of(tmp_path / "out" / "first" / LAST) == step + 1
    monkeypatch.setattr(toy_training.Training, "training_step", real)
    got = train(tmp_path, STAGES[:1]).state_dict()
    assert all(torch.equal(got[key], value) for key, value in want.items())
    assert [row["val/pa_mpvpe_mm"] for row in read_curve(tmp_path / "out" / "curve.csv")] == rows


def cut_off(tmp_path, monkeypatch, step=8):
    """A stage that ended in the middle, with two checkpoints."""

    def stepped(self, batch, index):
        if self.global_step == step:
            raise RuntimeError("power cut")
        return real(self, batch, index)

    real = toy_training.Training.training_step
    monkeypatch.setattr(toy_training.Training, "training_step", stepped)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, STAGES[:1])
    monkeypatch.setattr(toy_training.Training, "training_step", real)
    return tmp_path / "out" / "first"


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "text", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, monkeypatch, damage):
    folder = cut_off(tmp_path, monkeypatch)
    whole = (folder / LAST).read_bytes()
    assert (step_of(folder / LAST), step_of(folder / BEFORE)) == (8, 6)
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(255 - b for b in whole[middle : middle + 64]) + whole[middle + 64 :]
    content = {"empty": b"", "half": whole[:middle], "flipped": flipped, "text": b"no checkpoint"}
    if damage == "gone":
        (folder / LAST).unlink()
    else:
        (folder / LAST).write_bytes(content[damage])
    assert newest_checkpoint(folder) == folder / BEFORE
    assert load_newest(Model, 1, STAGES[:1], setting(tmp_path), TASK)[1] == "first"
    train(tmp_path, STAGES[:1])
    steps = [int(row["step"]) for row in read_curve(tmp_path / "out" / "curve.csv")]
    assert steps == [5, 10, 15, 20]


def test_no_readable_checkpoint_is_said(tmp_path, monkeypatch):
    folder = cut_off(tmp_path, monkeypatch)
    for name in (LAST, BEFORE):
        (folder / name).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read completely"):
        train(tmp_path, STAGES[:1])
    (folder / BEFORE).unlink()
    torch.save({"state_dict": {"other": torch.zeros(3)}}, folder / LAST)
    with pytest.raises(CheckpointError, match="belongs to a model of other sizes"):
        train(tmp_path, STAGES[:1])
    torch.save(["a list"], folder / LAST)
    with pytest.raises(CheckpointError, match="is not a checkpoint of this training"):
        train(tmp_path, STAGES[:1])


def test_a_damaged_end_of_a_stage_is_said(tmp_path):
    train(tmp_path, STAGES[:1])
    (tmp_path / "out" / "first" / "done.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="remove it, and the stage continues"):
        train(tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(tmp_path):
    path = tmp_path / LAST
    io = WholeCheckpoints()
    io.save_checkpoint({"state_dict": {"a": torch.ones(4)}}, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as a disk that has no more room
    try:
        with pytest.raises(TrainingError, match=r"last\.ckpt cannot be written \(.+\); the previous one"):
            io.save_checkpoint({"state_dict": {"a": torch.randn(200_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [LAST]


def test_what_a_killed_process_left_is_removed(tmp_path):
    process = get_context("fork").Process(target=int)
    process.start()
    process.join()
    gone, alive = (tmp_path / f".last.{number}.part.ckpt" for number in (process.pid, os.getpid()))
    for path in (gone, alive, tmp_path / "last.ckpt"):
        path.write_bytes(b"half")
    drop_halves(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, "last.ckpt"])


@pytest.mark.parametrize("rows", [[2], [0, 1, 2, 3]])
def test_a_loss_that_is_no_number_names_step_and_picture(tmp_path, monkeypatch, rows):
    seen = []
    real = toy_training.Training.losses

    def losses(self, batch):
        found = real(self, batch)
        if self.training and self.global_step == 3:
            if len(batch["number"]) > 1:
                seen.extend(batch["number"].tolist())
            bad = {seen[row] for row in rows}
            if bad & set(batch["number"].tolist()):
                return {"brightness": found[0]["brightness"] * float("nan")}, {}
        return found

    monkeypatch.setattr(toy_training.Training, "losses", losses)
    with pytest.raises(
        TrainingError, match=r"^training ended at step 3: brightness is NaN or infinite"
    ) as caught:
        train(tmp_path, STAGES[:1])
    named = f"scene {seen[2]} of seed 1" if len(rows) == 1 else "the weights are the cause"
    assert named in str(caught.value)
    assert is_whole(tmp_path / "out" / "first" / LAST)


def test_weights_that_are_no_numbers_are_not_kept(tmp_path, monkeypatch):
    real = toy_training.Training.training_step

    def stepped(self, batch, index):
        if self.global_step == 3:
            torch.nn.init.constant_(self.dense.weight, float("inf"))
            return 0 * self.dense.bias.sum()
        return real(self, batch, index)

    monkeypatch.setattr(toy_training.Training, "training_step", stepped)
    with pytest.raises(TrainingError, match=r"made .* weights NaN or infinite"):
        train(tmp_path, STAGES[:1])
    assert step_of(tmp_path / "out" / "first" / LAST) == 2


def test_a_stopped_stage_drops_the_same_paths(tmp_path, monkeypatch):
    real = toy_training.Training.losses

    def dropped(self, batch):
        if self.training and self.global_step == cut:
            raise RuntimeError("power cut")
        kept = torch.nn.functional.dropout(batch["img"], 0.5, self.training)
        return real(self, {**batch, "img": kept})

    monkeypatch.setattr(toy_training.Training, "losses", dropped)
    cut = None
    whole = train(tmp_path / "whole", STAGES[:1]).state_dict()
    cut = 7
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "cut", STAGES[:1])
    cut = None
    again = train(tmp_path / "cut", STAGES[:1]).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in again.items())


def test_a_clock_goes_on_with_another_limit():
    limited = Clock(100, 1000.0)
    limited.load_state_dict({"seconds": 900.0, "passed": 0.9})
    assert limited.passed == 0.9
    longer, free = Clock(100, 9000.0), Clock(100, None)
    for clock in (longer, free):
        clock.load_state_dict({"seconds": 900.0, "passed": 0.9})
    assert longer.passed == 0.1
    assert free.passed == 0.0  # so that the learning rate follows the steps alone
