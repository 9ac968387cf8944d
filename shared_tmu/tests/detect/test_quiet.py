"""Silence for native code, which shares stderr with everything else in the process."""

import logging
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from shared_tmu.detect.mediapipe_people import PoseGraph
from shared_tmu.detect.quiet import quiet_native_stderr
from shared_tmu.detect.tiles import Tile


def test_only_native_messages_are_discarded(capfd, monkeypatch):
    with open(2, "w", closefd=False) as stream:  # as Python's own is outside of pytest
        monkeypatch.setattr(sys, "stderr", stream)
        handler = logging.StreamHandler(stream)
        for _ in range(2):
            with quiet_native_stderr():
                os.write(2, b"native ")
                handler.emit(logging.makeLogRecord({"msg": "logged"}))
                stream.write("written\n")
            os.write(2, b"after\n")
            stream.flush()
        assert stream.fileno() == 2
    assert capfd.readouterr().err == "logged\nafter\nwritten\n" * 2


@pytest.mark.parametrize("first", ["a", "b"])
def test_blocks_that_overlap_leave_stderr_as_it_was(capfd, first):
    blocks = {"a": quiet_native_stderr(), "b": quiet_native_stderr()}
    for block in blocks.values():
        block.__enter__()
    blocks.pop(first).__exit__(None, None, None)
    os.write(2, b"native")
    blocks.popitem()[1].__exit__(None, None, None)
    os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"


def test_a_closed_stderr_has_nothing_to_silence(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    kept = os.dup(2)
    os.close(2)
    try:
        with quiet_native_stderr():
            pass
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(2)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_the_pose_model_is_silenced_until_it_has_found_a_person(capfd):
    def process(pixels):
        os.write(2, b"native\n")
        marks = [SimpleNamespace(x=0.5, y=0.5, visibility=1.0)] * 33
        return SimpleNamespace(
            pose_landmarks=SimpleNamespace(landmark=marks) if pixels.any() else None, segmentation_mask=None
        )

    graph = object.__new__(PoseGraph)
    graph._pose, graph._has_found = SimpleNamespace(process=process), False
    nobody, person = (Tile(np.full((8, 8, 3), value, np.uint8), (0, 0), (1, 1)) for value in (0, 1))
    for tile in (nobody, nobody, person):
        graph.run(tile)
    assert capfd.readouterr().err == ""
    graph.run(nobody)
    assert capfd.readouterr().err == "native\n"
