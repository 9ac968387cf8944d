"""What `--compare` shows as the baseline, and what it says of boxes for frames that there are not."""

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toy_hand_model import ToyHand, toy_program

from shared_tmu.demo.clips import Clip
from shared_tmu.demo.compare import Comparer
from shared_tmu.demo.predict import Predictor
from shared_tmu.demo.sources import VideoSource
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.layers.recipe import LayerRecipe
from shared_tmu.programs.model_program import BASELINE, Run
from shared_tmu.schedule import Schedule


def test_the_baseline_keeps_no_merged_layers():
    recipe = LayerRecipe(((0, 1), (2,)), "mean", "0" * 64)
    own = replace(BASELINE, schedule=Schedule.parse("2x2"), layers=recipe, restore="residual")
    runs = Comparer(SimpleNamespace(run=own), 8, threading.Lock(), SimpleNamespace()).runs
    assert runs["baseline"] == BASELINE
    assert (runs["merge-only"].unmerge, runs["merge-only"].restore) == (False, "copy")
    assert runs["TMU"] == own


@pytest.mark.parametrize("batch_size", [1, 2])
def test_merge_only_is_left_out_where_the_head_would_read_padding(batch_size, tmp_path, caplog):
    model = ToyHand()
    own = Run(Schedule.parse("threshold:0.9x2"), "ltmp", unmerge=True)
    predictor = Predictor(toy_program(tmp_path, model), model, own, torch.device("cpu"))
    runs = Comparer(predictor, batch_size, threading.Lock(), SimpleNamespace()).runs
    assert ("merge-only" in runs) == (batch_size == 1)
    assert ("--compare leaves merge-only out" in caplog.text) == (batch_size > 1)


def test_boxes_for_frames_beyond_the_end_are_mentioned(caplog):
    source = VideoSource(Clip(Path("clip.mp4"), (64, 48), 10))
    source.check_boxes(BoxesDetector({"clip.mp4:0": [], "clip.mp4:009": []}))
    assert not caplog.text
    source.check_boxes(BoxesDetector({"clip.mp4:0": [], "clip.mp4:010": []}))
    assert "clip.mp4:10, but the clip has frames 0 to 9" in caplog.text
