"""`--r auto:0.5mm` in an evaluation: what is found, kept and said. Times are made up, errors are measured."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from toy_hand_model import ToyHand, toy_program

from shared_tmu.demo.options import parse_options
from shared_tmu.errors import InputError
from shared_tmu.evaluation import main, parse_settings
from shared_tmu.evaluation.budget import contenders
from shared_tmu.evaluation.budget.answer import read_answer
from shared_tmu.evaluation.budget.auto import AutoSettings, ModelIdentity, _question, find_run
from shared_tmu.evaluation.budget.judge import Judge
from shared_tmu.evaluation.budget.ladder import cost_of, make_ladder, thin_out
from shared_tmu.evaluation.budget.request import Budget
from shared_tmu.evaluation.budget.samples import SampleChoice, Samples
from shared_tmu.evaluation.recipes import trunk_sha256
from shared_tmu.methods import count_tokens
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.results import read_records
from shared_tmu.programs.timing import Timing
from shared_tmu.schedule import Schedule

BASE = Run(Schedule(), "tome", unmerge=True)


@pytest.fixture
def timed(monkeypatch):
    """Work in place of time, and how often it was measured."""
    made = []

    def measure(self, masks, rounds, budget_s):
        made.append(len(masks))
        found = {}
        for run in masks:
            depth = 4 if run.layers is None else run.layers.depth
            counts = count_tokens(run.method, run.schedule, depth, 64)
            found[run] = Timing((cost_of(counts), cost_of(counts)))
        return found

    monkeypatch.setattr(contenders.Contenders, "_measure", measure)
    monkeypatch.setattr(contenders, "make_ladder", short_ladder)
    return made


def short_ladder(*trunk):
    return thin_out(make_ladder(*trunk), 5)


@pytest.fixture
def find(tmp_path, data_dir, monkeypatch, capsys):
    """Search for a toy; returns the run and what was written."""
    monkeypatch.setenv("SHARED_TMU_CACHE", str(tmp_path / "cache"))

    def call(text, masks=("none",), **more):
        model = ToyHand().eval()
        program = toy_program(tmp_path / "toy", model)
        samples = SampleChoice("freihand", data_dir, 4, 3, torch.device("cpu"))
        settings = AutoSettings(samples, BASE, dict.fromkeys(masks))
        identity = ModelIdentity("weights", trunk_sha256(program, model))
        found = find_run(program, model, identity, Budget.parse(text), settings, **more)
        return found, capsys.readouterr().out

    return call


def test_the_fastest_within_the_budget_is_found_and_at_once_again(find, timed, caplog):
    caplog.set_level("INFO", "shared_tmu")
    found, told = find("auto:50mm", ("none", "box"))
    assert not found.schedule.is_off
    assert "auto:50mm: pa_mpvpe_mm of the unpatched model is 62.9" in told
    row = next(line for line in told.splitlines() if line.startswith(found.label))
    assert row.endswith("chosen")
    counts = count_tokens("tome", found.schedule, 4, 64)
    assert cost_of(counts) == min(map(cost_of, make_ladder("tome", 4, 64, 0).values()))  # all are within it
    searched = len(timed)
    assert find("auto:50mm", ("none", "box")) == (found, told)
    assert len(timed) == searched
    assert "result of an earlier search" in caplog.text
    find("auto:49mm", ("none",))
    assert len(timed) > searched


def test_a_slow_model_s_answer_says_how_many_samples_were_used(find, timed, monkeypatch):
    monkeypatch.setattr("shared_tmu.evaluation.budget.auto._affordable", lambda model, samples: 1)
    _, told = find("auto:50mm")
    assert "mm on 3 samples of freihand" in told
    assert "mm on 3 samples of freihand" in find("auto:50mm")[1]  # as kept


def test_trials_on_fewer_samples_and_of_a_fresh_search_are_made_again(find, timed, tmp_path, monkeypatch):
    auto = tmp_path / "cache" / "auto"
    with monkeypatch.context() as slow:
        slow.setattr("shared_tmu.evaluation.budget.auto._affordable", lambda model, samples: 1)
        find("auto:50mm+layers")
    (log,) = auto.glob("*.trials.jsonl")
    keys = {line["key"] for line in read_records(log)}
    (answer,) = auto.glob("*.json")
    answer.unlink()
    find("auto:50mm+layers")
    lines = read_records(log)
    assert {line["key"] for line in lines} > keys
    find("auto:50mm+layers", fresh=True)
    assert 0 < len(read_records(log)) < len(lines)


def test_a_damaged_answer_is_found_again(find, timed, tmp_path, caplog):
    found, told = find("auto:50mm")
    (kept,) = (tmp_path / "cache" / "auto").glob("*.json")
    content = json.loads(kept.read_text())
    assert content["question"]["batch_size"] == 3
    other = {**content, "answer": {**content["answer"], "schedule": "9x9"}}
    for number, damaged in enumerate(("[]", json.dumps(other)), start=1):
        kept.write_text(damaged)
        assert find("auto:50mm") == (found, told)
        assert caplog.text.count("cannot be read") == number
        assert json.loads(kept.read_text())["key"] == content["key"]


BAD = (None, "", "x", -1, 1e999, math.nan, [], {}, [[0, 1]], {"a": 1}, True, "99x99", "truth")


def leaves(content, path=()):
    """Where the values of nested dictionaries and lists are, those in between included."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))


def test_whatever_is_damaged_in_an_answer_it_is_read_whole_or_not_at_all(find, timed, tmp_path):
    find("auto:50mm+layers", ("none", "box"))
    (kept,) = (tmp_path / "cache" / "auto").glob("*.json")
    content, facts = json.loads(kept.read_text()), json.loads(kept.read_text())["question"]
    masks, budget = ("none", "box"), Budget.parse("auto:50mm+layers")
    assert read_answer(kept, content["key"], BASE, masks) is not None
    for *path, last in leaves(content["answer"]):
        for bad in BAD:
            damaged = copy.deepcopy(content)
            at = damaged["answer"]
            for key in path:
                at = at[key]
            at[last] = bad
            kept.write_text(json.dumps(damaged))
            found = read_answer(kept, content["key"], BASE, masks)
            if found is not None:
                found.show(budget, facts)
                assert found.run.mask in masks
                found.run.schedule.per_layer(found.run.layers.depth if found.run.layers else 4)


@pytest.mark.parametrize("fresh", [False, True])
def test_without_a_cache_the_search_goes_on_and_says_so(find, timed, tmp_path, caplog, fresh):
    (tmp_path / "cache").write_text("no folder")
    found, _ = find("auto:50mm+layers", fresh=fresh)
    assert found.layers is not None
    assert "Trials cannot be kept in" in caplog.text
    assert "The result of the search cannot be saved in" in caplog.text


def test_damaged_trials_are_made_again(find, timed, tmp_path, caplog):
    want, _ = find("auto:50mm+layers")
    (log,) = (tmp_path / "cache" / "auto").glob("*.trials.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    del lines[0]["partition"], lines[1]["error_mm"]
    lines[2] |= {"partition": 3}
    lines[3] |= {"error_mm": "much"}
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (answer,) = (path for path in log.parent.glob("*.json") if "trials" not in path.name)
    answer.unlink()
    assert find("auto:50mm+layers")[0] == want
    assert caplog.text.count("A line of the trials is damaged") == len(lines[:4])


def test_trials_that_cannot_be_removed_are_not_used_again(find, timed, tmp_path):
    find("auto:50mm+layers")
    (log,) = (tmp_path / "cache" / "auto").glob("*.trials.jsonl")
    log.unlink()
    log.mkdir()
    with pytest.raises(InputError, match=r"cannot be removed .* and its errors would be used again"):
        find("auto:50mm+layers", fresh=True)


def test_another_probe_or_picture_asks_another_question(find, timed, tmp_path, data_dir, monkeypatch):
    def asked():
        model = ToyHand().eval()
        program = toy_program(tmp_path / "toy", model)
        samples = SampleChoice("freihand", data_dir, 4, 3, torch.device("cpu"))
        settings = AutoSettings(samples, BASE, {"none": None, "probe": probe})
        data = Samples.of_set(samples, model).data
        return _question(program, model, ModelIdentity(), Budget(1.0), settings, data)

    probe = tmp_path / "probe.safetensors"
    probe.write_bytes(b"one")
    first = asked()
    assert asked() == first
    probe.write_bytes(b"two")
    second = asked()
    assert second != first
    monkeypatch.setattr("shared_tmu.evaluation.budget.auto.set_sha256", lambda data: "others")
    assert asked() != second


def test_a_budget_that_cannot_be_met_says_what_could(find, timed, monkeypatch):
    monkeypatch.setattr(Judge, "_extra", lambda self, outputs: np.full(4, 0.3))
    with pytest.raises(InputError, match=r"0\.1mm cannot be met.*\+0\.300 mm.*Use --r auto:0\.30\dmm"):
        find("auto:0.1mm")
    monkeypatch.setattr(Judge, "_extra", lambda self, outputs: np.full(4, np.nan))
    with pytest.raises(InputError, match="not finite"):
        find("auto:0.1mm")


def test_nothing_that_is_slower_is_worth_an_error(find, monkeypatch):
    monkeypatch.setattr(
        contenders.Contenders, "_measure", lambda self, masks, *_: dict.fromkeys(masks, Timing((1.0, 1.0)))
    )
    with pytest.raises(InputError, match="no merging setting is faster"):
        find("auto:50mm")


def test_layers_are_merged_where_that_is_allowed(find, timed):
    found, told = find("auto:50mm+layers")
    assert found.layers is not None
    assert found.layers.depth < 4
    assert f"{found.layers.depth}-layers" in told
    assert find("auto:50mm")[0].layers is None


def test_an_evaluation_has_a_row_for_what_was_found_and_goes_on_without(
    tmp_path, data_dir, monkeypatch, timed, caplog
):
    monkeypatch.setenv("SHARED_TMU_CACHE", str(tmp_path))
    given = ["--dataset", "freihand", "--calib", "freihand", "--batch_size", "3", "--device", "cpu"]
    given += ["--data_dir", str(data_dir), "--calib_dir", str(data_dir), "--rounds", "0", "--mask", "none"]
    program = toy_program(tmp_path / "toy")
    monkeypatch.setattr("shared_tmu.evaluation.budget.flags.SAMPLES", 4)
    monkeypatch.setattr(Judge, "_extra", lambda self, outputs: np.full(4, 0.3))
    status = main(program, [*given, "--r", "off,auto:0.5mm,auto:0.1mm"])
    assert status == 1
    assert "Not evaluated: auto:0.1mm cannot be met" in caplog.text
    off, found = read_records(tmp_path / "toy" / "results" / "toy-freihand.jsonl")
    assert (off["tokens_kept"], off["schedule"]) == (64, "off")
    assert found["tokens_kept"] < 64


def test_what_does_not_go_with_a_search_is_refused(tmp_path):
    program = toy_program(tmp_path / "toy")
    for flags in (["--method", "tome,random"], ["--protect", "first,last"], ["--layers", "x.safetensors"]):
        with pytest.raises(InputError, match="--r auto searches with one --method"):
            parse_settings(program, ["--r", "auto:1mm", *flags])
    for method, message in (("ltmp", "follow from thresholds"), ("tomesd", "back in every block")):
        for read in (parse_settings, parse_options):
            with pytest.raises(InputError, match=message):
                read(program, ["--r", "auto:1mm", "--method", method])
    with pytest.raises(InputError, match="one set: name exactly one"):
        parse_settings(program, ["--r", "auto:1mm", "--calib", "freihand,synthhand"])
    assert parse_settings(program, ["--r", "auto:1mm", "--method", "dct"]).auto.probes == {"none": None}
    assert parse_settings(program, ["--r", "off"]).auto is None


def test_flags_of_a_search_that_is_not_made_are_refused(tmp_path):
    program = toy_program(tmp_path / "toy")
    for read in (parse_settings, parse_options):
        for flags in (["--calib", "freihand"], ["--calib_dir", str(tmp_path)]):
            with pytest.raises(InputError, match=f"{flags[0]} .* but --r searches nothing"):
                read(program, ["--r", "8x2", *flags])
            read(program, ["--r", "auto:1mm", *flags])
        read(program, ["--r", "8x2", "--calib_dir", str(program.data_dir)])


def test_a_rule_for_masks_is_refused_where_nothing_is_masked(tmp_path):
    program = toy_program(tmp_path / "toy")
    for flags in (["8x2"], ["off", "--mask", "box"], ["auto:1mm", "--method", "dct"]):
        with pytest.raises(InputError, match="--background was given, but no mask uses it"):
            parse_settings(program, ["--background", "first", "--r", *flags])
    for flags in (["8x2", "--mask", "none,box"], ["off,auto:1mm"]):
        parse_settings(program, ["--background", "first", "--r", *flags])


def test_masks_that_need_a_detector_are_tried_only_if_asked_for(tmp_path):
    program = toy_program(tmp_path / "toy")
    free = parse_settings(program, ["--r", "auto:1mm"]).auto.probes.keys()
    assert {"none", "box"} <= free
    assert not {"landmarks", "segmentation"} & free
    asked = parse_settings(program, ["--r", "auto:1mm", "--mask", "none,landmarks+box"]).auto.probes
    assert [*asked] == ["none", "landmarks+box"]
