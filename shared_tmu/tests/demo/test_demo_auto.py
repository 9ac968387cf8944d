"""`--r auto:0.5mm` in the demo: how the search is asked, and that what it finds is what runs."""

import numpy as np
import pytest
from toy_demo import demo_program, run, write_boxes, write_pictures

from shared_tmu.demo import searching
from shared_tmu.demo.options import parse_options
from shared_tmu.errors import InputError, ScheduleError
from shared_tmu.evaluation.budget.request import Budget
from shared_tmu.layers import LayerRecipe
from shared_tmu.programs.model_program import Run
from shared_tmu.schedule import Schedule

LAYERS = LayerRecipe(((0, 0), (1, 2), (3, 3)), "eq4", "abc")


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Run the toy demo with a search that finds this run; returns (status, vertices, how it was asked)."""
    images, boxes = write_pictures(tmp_path / "images"), write_boxes(tmp_path / "boxes.json")
    asked = []

    def call(out, *flags, finds=None):
        def find(program, model, identity, budget, settings):
            asked.append((budget, settings))
            return finds

        monkeypatch.setattr(searching, "find_run", find)
        flags = ("--no-overlays", *flags)
        status = run(demo_program(tmp_path / "toy"), images, tmp_path / out, *flags, boxes=boxes)
        saved = tmp_path / out / "d.npz"
        return status, np.load(saved)["vertices_m"] if saved.exists() else None, asked

    return call


def test_what_is_found_is_what_runs(demo):
    found = Run(Schedule.parse("20x2"), "tome", unmerge=True)
    status, vertices, asked = demo("auto", "--r", "auto:0.5mm", finds=found)
    assert status == 0
    _, same, _ = demo("fixed", "--r", "20x2", "--mask", "none")
    np.testing.assert_array_equal(vertices, same)
    ((budget, settings),) = asked
    assert budget == Budget(0.5)
    assert set(settings.probes) == {"none", "landmarks+box"}
    assert settings.samples.dataset == "synthhand-calib"
    assert settings.samples.batch_size == 3


def test_merged_layers_run_and_what_compares_them_has_all_layers(demo, capsys):
    found = Run(Schedule.parse("20x2"), "tome", unmerge=True, layers=LAYERS)
    status, shorter, _ = demo("auto", "--r", "auto:0.5mm+layers", "--mask", "none", finds=found)
    assert status == 0
    _, whole, _ = demo("fixed", "--r", "20x2", "--mask", "none")
    assert np.abs(shorter - whole).max() > 1e-6
    alone = Run(Schedule(), "tome", unmerge=True, layers=LAYERS)
    _, without, asked = demo("alone", "--r", "auto:0.5mm+layers", finds=alone)
    assert np.abs(without - shorter).max() > 1e-6
    assert asked[-1][0] == Budget(0.5, with_layers=True)
    status, vertices, _ = demo("compared", "--r", "auto:0.5mm+layers", "--compare", finds=alone)
    assert (status, vertices) == (1, None)


def test_a_search_that_finds_nothing_ends_before_any_work(demo, monkeypatch, tmp_path):
    def find(*given):
        raise InputError("auto:0.5mm cannot be met")

    monkeypatch.setattr(searching, "find_run", find)
    with pytest.raises(ScheduleError, match="such as auto"):
        parse_options(demo_program(tmp_path / "other"), ["--r", "auto:half"])
