"""Pictures are processed in portions that do not depend on each other."""

import pytest
from toy_demo import contents, run, write_boxes, write_pictures

from shared_tmu.demo.batching import Job
from shared_tmu.demo.draw_worker import Drawn
from shared_tmu.demo.drawing import Finisher
from shared_tmu.demo.predict import Predictor
from shared_tmu.demo.saving import Drawer
from shared_tmu.demo.sources import PORTION_BATCHES
from shared_tmu.detect import Detection
from shared_tmu.pictures.listing import Source

BATCH = 3
PORTION = PORTION_BATCHES * BATCH
NAMES = [f"{index:02d}.png" for index in range(PORTION + 2)]


@pytest.fixture
def many(tmp_path):
    """Pictures of two portions, the first with two hands in one, so that its last batch is not full."""
    box = [{"box_xyxy": [2, 3, 38, 27], "is_right": True}, {"box_xyxy": [5, 1, 30, 28], "is_right": False}]
    boxes = {name: box[: 2 if index == 4 else 1] for index, name in enumerate(NAMES)}
    return (
        write_pictures(tmp_path / "many", dict.fromkeys(NAMES, (40, 30))),
        write_boxes(tmp_path / "many.json", boxes),
    )


def test_no_batch_has_crops_of_two_portions(program, many, out, monkeypatch):
    folder, boxes = many
    sizes, predict = [], Predictor.predict

    def seen(self, images, *more, **named):
        sizes.append(len(images))
        return predict(self, images, *more, **named)

    monkeypatch.setattr(Predictor, "predict", seen)
    assert run(program, folder, out, "--batch_size", BATCH, boxes=boxes) == 0
    assert sizes == [BATCH] * PORTION_BATCHES + [1] + [2]


def test_an_error_of_the_model_ends_the_run(program, many, out, monkeypatch):
    """The threads that read ahead were waiting for each other."""
    folder, boxes = many

    def fail(self, *given, **named):
        raise ZeroDivisionError("the model failed")

    monkeypatch.setattr(Predictor, "predict", fail)
    with pytest.raises(ZeroDivisionError):
        run(program, folder, out, "--batch_size", BATCH, boxes=boxes)


def test_a_portion_alone_gives_the_files_of_the_whole_folder(program, many, out, tmp_path):
    folder, boxes = many
    assert run(program, folder, out, "--batch_size", BATCH, boxes=boxes) == 0
    for name in NAMES[:PORTION]:
        (folder / name).unlink()
    assert run(program, folder, tmp_path / "alone", "--batch_size", BATCH, boxes=boxes) == 0
    alone = contents(tmp_path / "alone")
    assert f"{NAMES[-1][:2]}.npz" in alone
    assert alone.items() <= contents(out).items()


@pytest.mark.parametrize("processes", [0, 1])
def test_a_finisher_draws_one_portion_after_another_with_the_same_processes(program, processes, tmp_path):
    saved = []
    drawer = Drawer(options=None, faces=None, facts={})  # drawing fails, and says so, in both
    with Finisher(processes) as finisher:
        pids = finisher.pids
        for name in ("a", "b"):
            with finisher.running(drawer, lambda job, drawn: saved.append((job.source.name, drawn))):
                job = Job(Source(tmp_path / name, name, name), "", (1, 1), None, Detection(()), [])
                finisher.put(job)
                finisher.drain()
        assert finisher.pids == pids
    assert [name for name, _ in saved] == ["a", "b"]
    assert all(isinstance(drawn, Drawn) and "drawing failed" in drawn.failure for _, drawn in saved)
