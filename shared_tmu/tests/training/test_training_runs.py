"""Training that is stopped, at any point and in any way, ends where training that is not stopped does."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from threading import Event

import pytest
import torch
import toy_training
from toy_training import STAGES, TASK, Model, setting, train, train_apart

from shared_tmu.errors import ConfigError
from shared_tmu.synth import shards
from shared_tmu.training import data, drawing
from shared_tmu.training.curve import read_curve
from shared_tmu.training.data_module import Feed, Order
from shared_tmu.training.ends import read_end
from shared_tmu.training.optim import warm_cosine
from shared_tmu.training.settings import Stage
from shared_tmu.training.stages import load_newest
from shared_tmu.training.time_limit import seconds_for

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.fixture
def slow(monkeypatch):
    """Sets how many seconds a step takes at least."""
    return lambda seconds: monkeypatch.setattr(toy_training, "SLEEP_S", seconds)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Weights and curve of a run that nothing stops."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(shards, "SHARD", toy_training.SHARD)
        patches.setattr(data, "SHARD", toy_training.SHARD)
        return train(folder).state_dict(), curve(folder)


def curve(folder: Path) -> list[tuple[str, int, str]]:
    """Stage, step and error of each validation."""
    rows = read_curve(folder / "out" / "curve.csv")
    return [(row["stage"], int(row["step"]), row["val/pa_mpvpe_mm"]) for row in rows]


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def kill_when(
    folder: Path, reached: Callable[[], bool], sleep_s: float = 0.02, draw_s: float = 0, **changes: int
) -> None:
    """Train in a process of its own and kill it, without a chance to clean up, at some point."""
    context = get_context("forkserver")  # imports once, and has no threads
    context.set_forkserver_preload(["torch._dynamo", "shared_tmu.training.stages"])
    environment = {"TOY_RUN": str(folder), "TOY_DRAW_S": str(draw_s)}
    process = context.Process(target=train_apart, args=(folder, sleep_s, environment), kwargs=changes)
    process.start()
    try:
        deadline = time.monotonic() + 300
        while not reached():
            assert process.is_alive(), "training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
        process.join()


def test_curve_has_every_validation_and_the_end_of_each_stage(undisturbed):
    weights, rows = undisturbed
    assert [row[:2] for row in rows] == [
        *(("first", step) for step in (5, 10, 15, 20)),
        *(("second", step) for step in (5, 10, 15, 16)),
    ]
    assert len({key for key in weights if "blocks" in key}) == 2 * 4


@pytest.mark.parametrize("rows", [2, 6])
def test_killed_in_a_stage_it_goes_on_to_the_same_end(tmp_path, undisturbed, rows):
    kill_when(tmp_path, lambda: len(read_curve(tmp_path / "out" / "curve.csv")) >= rows)
    model, stage = load_newest(Model, 1, STAGES, setting(tmp_path), TASK)
    assert stage == ("first" if rows == 2 else "second")
    assert isinstance(model, Model)
    weights = train(tmp_path).state_dict()
    assert same(weights, undisturbed[0])
    assert curve(tmp_path) == undisturbed[1]


def test_killed_between_stages_it_goes_on_to_the_same_end(tmp_path, undisturbed):
    kill_when(tmp_path, (tmp_path / "out" / "first" / "done.safetensors").exists)
    assert load_newest(Model, 1, STAGES, setting(tmp_path), TASK)[1] == "first"
    assert same(train(tmp_path).state_dict(), undisturbed[0])
    assert curve(tmp_path) == undisturbed[1]


@pytest.mark.parametrize("step", [10, 20])
@pytest.mark.parametrize("with_row", [False, True])
def test_stopped_around_a_validation_its_row_is_there_once(
    tmp_path, undisturbed, monkeypatch, step, with_row
):
    """A power cut before or after a row, in the middle of a stage or at its end."""
    from shared_tmu.training.curve import Curve

    real = Curve.on_validation_end

    def cut(self, trainer, pl_module):
        if with_row or trainer.global_step != step:
            real(self, trainer, pl_module)
        if trainer.global_step == step:
            raise RuntimeError("power cut")

    monkeypatch.setattr(Curve, "on_validation_end", cut)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path)
    monkeypatch.setattr(Curve, "on_validation_end", real)
    assert same(train(tmp_path).state_dict(), undisturbed[0])
    assert curve(tmp_path) == undisturbed[1]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes as Linux lists them")
def test_killed_while_drawing_no_process_and_no_half_file_stays(tmp_path, undisturbed):
    cache = tmp_path / "cache"
    kill_when(tmp_path, lambda: any(cache.glob("*/0*.npz")), draw_s=0.05, draw_processes=2)
    assert not (tmp_path / "out" / "curve.csv").exists()
    deadline = time.monotonic() + 30
    while running(tmp_path):
        assert time.monotonic() < deadline, "processes that draw outlive the training that started them"
        time.sleep(0.1)
    assert not list(cache.glob("*/.*"))
    assert same(train(tmp_path).state_dict(), undisturbed[0])


def running(folder: Path) -> list[str]:
    """Processes that `kill_when` or its children started for a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"TOY_RUN={folder}".encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


class Threads:
    """Draws like a pool of processes, without their long start."""

    def __init__(self, processes: int, cache: Path) -> None:
        self.executor = ThreadPoolExecutor(1)

    def close(self) -> None:
        self.executor.shutdown(cancel_futures=True)


def test_training_begins_before_everything_is_drawn_and_sees_what_is_added(tmp_path, monkeypatch):
    """The first shard is drawn before training, the others during its first step."""
    begun, drawn = Event(), Event()
    real_draw, real_step, real_loader = (
        drawing.write_shard,
        toy_training.Training.training_step,
        Feed.train_dataloader,
    )

    def draw(folder, seed, number, *how):
        if seed == STAGES[0].seed and number:
            assert begun.wait(60)
        real_draw(folder, seed, number, *how)
        if seed == STAGES[0].seed and number == 2:
            drawn.set()

    def step(self, *given):
        begun.set()
        assert drawn.wait(60)
        return real_step(self, *given)

    orders = []

    def loader(self):
        made = real_loader(self)
        orders.append(made.order)
        return made

    monkeypatch.setattr(drawing, "DrawingPool", Threads)
    monkeypatch.setattr(drawing, "write_shard", draw)
    monkeypatch.setattr(toy_training.Training, "training_step", step)
    monkeypatch.setattr(Feed, "train_dataloader", loader)
    train(tmp_path, STAGES[:1], draw_processes=2, draw_first=8)
    counts = [there[0] for _, there in orders[0].rounds]
    assert counts[0] == 8
    assert counts[-1] == 24
    assert counts == sorted(counts)


def test_errors_of_the_drawing_processes_end_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "DrawingPool", Threads)
    with pytest.raises(ValueError, match="cannot be drawn"):
        train(tmp_path, [replace(STAGES[0], seed=13)], draw_processes=2)


def growing_order(**options) -> Order:
    """Ten batches of four while pictures of two sets are drawn."""
    there = iter([(8, 0), (8, 4), (12, 8)])
    return Order(5, 10, 4, (12, 8), lambda: next(there), **options)


def test_order_shows_every_picture_once_a_round_and_takes_new_ones_in():
    order = growing_order()
    tickets = [ticket for batch in order for ticket in batch]
    indices = [index for index, _ in tickets]
    assert len(order) == 10
    assert order.rounds == [(0, (8, 0)), (2, (8, 4)), (5, (12, 8))]
    assert sorted(indices[:8]) == list(range(8))
    assert sorted(indices[8:20]) == [*range(8), *range(12, 16)]
    assert sorted(indices[20:]) == list(range(20))
    assert len({chance for _, chance in tickets}) == len(tickets)


def test_devices_share_what_one_device_would_see():
    parts = [growing_order(rank=rank, world=2) for rank in (0, 1)]
    for batch, first, second in zip(growing_order(), *parts, strict=True):
        assert len(first) == len(second) == 2
        assert sorted(batch) == sorted([*first, *second])


def test_order_goes_on_in_the_middle_of_a_round():
    whole = list(Order(5, 10, 4, (12,), lambda: (12,)))
    rest = Order(5, 10, 4, (12,), lambda: (12,), first_step=lambda: 4)
    rest.rounds = [(0, (12,)), (3, (12,)), (6, (12,))]
    assert list(rest) == whole[4:]


def test_the_learning_rate_falls_with_the_time_if_that_is_ahead():
    assert warm_cosine(50, 10, 100, passed=0.2) == warm_cosine(50, 10, 100)
    assert warm_cosine(50, 10, 100, passed=0.9) < 0.05
    assert warm_cosine(50, 10, 100, passed=1.7) == pytest.approx(0.01)
    assert warm_cosine(4, 10, 100, passed=0.3) == 0.5  # the warm-up is not skipped


def test_time_is_shared_by_pictures_and_blocks():
    stages = [
        Stage("a", 8, images=1000, seed=1, count=1),
        Stage("b", 32, images=2000, seed=1, count=1),
    ]
    assert seconds_for(stages, 700) == pytest.approx(700 * 12 / (12 + 72))
    assert seconds_for(stages[1:], 650) == 650
    assert seconds_for(stages[1:], -5) == 1


def test_a_stage_ends_with_its_time_and_the_learning_rate_with_it(tmp_path, slow, monkeypatch):
    slow(0.02)
    long = [replace(stage, images=400_000) for stage in STAGES]
    rates = []
    real = toy_training.Training.training_step

    def step(self, batch, index):
        rates.append(self.trainer.optimizers[0].param_groups[-1]["lr"] / self.lr)
        return real(self, batch, index)

    monkeypatch.setattr(toy_training.Training, "training_step", step)
    began = time.monotonic()
    train(tmp_path, long, max_minutes=6 / 60)
    assert time.monotonic() - began < 20
    ends = [read_end(tmp_path / "out" / stage.name) for stage in long]
    assert all(1 < float(end["seconds"]) < 8 for end in ends)
    steps = [int(end["steps"]) for end in ends]
    assert sum(steps) == len(rates)
    for last in (steps[0] - 1, -1):
        assert rates[last] < 0.3
    assert max(rates) > 0.9
    last = curve(tmp_path)[-1]
    assert last[:2] == ("second", steps[1])  # the last weights are measured


def test_time_taken_is_remembered(tmp_path):
    kill_when(tmp_path, lambda: len(read_curve(tmp_path / "out" / "curve.csv")) >= 3, sleep_s=0.1)
    before = float(read_curve(tmp_path / "out" / "curve.csv")[1]["seconds"])
    assert before > 0.9
    train(tmp_path)
    rows = [float(row["seconds"]) for row in read_curve(tmp_path / "out" / "curve.csv")]
    assert rows[1] == before
    assert before < rows[3] < before + 30
    assert float(read_end(tmp_path / "out" / "first")["seconds"]) > before


def test_fewer_pictures_than_a_batch_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'first' has 3 pictures, fewer than a batch of 4"):
        train(tmp_path, [replace(STAGES[0], count=3)])
