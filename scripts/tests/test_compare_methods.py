"""Methods compared: schedules of equal cost, commands, lines, fronts, the best for each budget, tables."""

import json
from dataclasses import replace
from types import SimpleNamespace

import compare_methods
import figures
import method_costs
import method_lines
import method_thresholds
import method_times
import numpy as np
import pytest
import update_tables
from bundled import BUNDLED
from figure_checks import check_saved, clipped
from figure_parts import methods, style
from method_lines import Asked, Planned, combine, judge
from method_tables import METHOD_TABLES, show_best
from method_thresholds import Counted, find_thresholds
from method_ways import BUDGETS, PUBLISHED, Way, find_schedule, flops_of, group_runs, usual_ways

from shared_tmu.errors import InputError
from shared_tmu.evaluation.per_sample import PerSample, write_per_sample
from shared_tmu.flops import TrunkShape
from shared_tmu.methods import METHODS
from shared_tmu.schedule import Schedule

SHAPE = TrunkShape(32, 192, 192)


def count(way):
    """In place of thresholds that are found on pictures."""
    return Counted(
        {"5x20": "threshold:0.9", "8x16": "threshold:0.8", "10x16": "threshold:0.7"}[way.budget], 0.5, 61.5
    )


def read(*arguments):
    return compare_methods.read_ways(
        compare_methods.make_parser().parse_args(["--model", "hamer", *arguments])
    )


def test_every_method_and_every_restore_is_compared_unless_asked_otherwise():
    ways = usual_ways()
    assert {way.method for way in ways} == set(METHODS)
    assert {way.restore for way in ways} == {"copy", "residual"}
    assert len(set(ways)) == len(ways)
    assert read() == ways


@pytest.mark.parametrize("way", [way for way in usual_ways() if way.profile != PUBLISHED], ids=str)
def test_profiles_cost_as_many_flops_as_their_budget(way):
    schedule = find_schedule(way, SHAPE)
    if schedule is None:
        assert (way.budget, way.profile) in {
            ("5x20", "late"),
            ("8x16", "late"),
            ("10x16", "late"),
            ("10x16", "flat"),
        }
        return
    whole, asked = flops_of("tome", "off", SHAPE), flops_of("tome", way.budget, SHAPE)
    assert flops_of("tome", schedule, SHAPE) == pytest.approx(asked, abs=0.02 * (whole - asked))


def test_what_gives_tokens_back_at_once_runs_in_all_blocks():
    assert find_schedule(Way("1x20", "tomesd"), SHAPE) != "1x20"
    found = Schedule.parse(find_schedule(Way("2x20", "tomesd"), SHAPE))
    assert len(set(found.per_layer(32))) == 1
    dear = {find_schedule(Way(budget, "tomesd"), SHAPE) for budget in BUDGETS}
    assert dear == {"144x32"}  # three of four tokens, in every block: that is all it can do


def test_a_command_line_asks_for_a_product_and_tome_to_compare_with():
    found = read("--method", "mctf,pitome", "--r", "8x16", "--restore", "copy,residual")
    assert found[0] == Way("8x16")
    assert set(found[1:]) == {Way("8x16", m, r) for m in ("mctf", "pitome") for r in ("copy", "residual")}
    assert {way.profile for way in read("--profile", "flat,late")} == {PUBLISHED, "flat", "late"}
    for wrong, message in (
        (["--profile", "early"], "no profile 'early': use one of published, flat, falling, late"),
        (["--r", "off"], "--r off merges nothing"),
        (["--method", ","], "--method"),
    ):
        with pytest.raises(InputError, match=message):
            read(*wrong)


def test_what_cannot_be_spent_is_left_out_and_said(capsys):
    ways = [Way("8x16", profile="late"), Way("8x16", "ltmp"), Way("8x16")]
    assert [plan.schedule for plan in compare_methods.plan(ways, SHAPE, count)] == ["threshold:0.8", "8x16"]
    said = capsys.readouterr().out
    assert "Left out: tome, late, with the FLOPs of 8x16: 192 tokens are too few." in said


def test_commands_measure_every_run_once():
    plans = compare_methods.plan(usual_ways(), SHAPE, count)
    asked = Asked(BUNDLED["hamer"], plans, 9)
    measured = []
    for flags in group_runs(asked.runs):
        named = dict(zip(flags[::2], flags[1::2], strict=True))
        lists = [named[flag].split(",") for flag in ("--method", "--r")]
        measured += [(m, r, named["--restore"]) for m in lists[0] for r in lists[1]]
    assert sorted(measured) == sorted(asked.runs)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Lines and errors of eval.py for three runs and `off`, in place of a model's results."""
    monkeypatch.setattr(method_lines, "file_sha256", lambda path: "weights")
    monkeypatch.setattr(type(BUNDLED["hamer"]), "results", lambda self, dataset: tmp_path / "lines.jsonl")
    noise = np.random.default_rng(0).normal(size=40)
    rows = {
        ("tome", "off", "copy"): 10 + noise,
        ("tome", "8x16", "copy"): 12 + noise,
        ("mctf", "8x16", "copy"): 11 + noise,
        ("pool", "8x16", "copy"): 11 + noise + np.tile([0.1, -0.099], 20),
    }
    lines = []
    for number, ((method, schedule, restore), errors) in enumerate(rows.items()):
        about = {"dataset": "synthhand", "dataset_sha256": "s"}
        names = tuple(map(str, range(40)))
        write_per_sample(tmp_path / f"{number}", PerSample(names, names, {"pa_mpvpe_mm": errors}, about))
        lines.append(
            {
                **{"method": method, "schedule": schedule, "restore": restore, "mask": "none", "n": 40},
                **{"unmerge": True, "protect": "first", "checkpoint_sha256": "weights", "stability_n": 4},
                **{"stability_mm": 1.0, "dataset_sha256": "s", "pa_mpvpe_mm": float(errors.mean())},
                **{"interval_95": {"pa_mpvpe_mm": [9.0, 13.0]}, "tokens": 192, "model": "HaMeR"},
                **{"tokens_kept": 192 if schedule == "off" else 64, "dataset": "synthhand", "label": "x"},
                **{"dtype": "float32", "device": "cpu", "machine": {}, "files": str(number)},
            }
        )
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ways = [Way("8x16", method) for method in ("tome", "mctf", "pool")]
    return Asked(BUNDLED["hamer"], tuple(Planned(way, "8x16", 0.5) for way in ways), 40)


def test_lines_compare_in_pairs_and_name_the_best(results):
    timed = {"speedup": 2.0, "speedup_quartiles": [2, 2], "overhead": 0.1, "overhead_quartiles": [0.1, 0.1]}
    keys = results.runs
    off, tome, mctf, pool = combine(results, {keys[0]: timed, keys[1]: {**timed, "speedup": 1.5}})
    assert off["schedule"] == "off"
    assert tome["minus_base"]["pa_mpvpe_mm"] == 0.0
    assert mctf["minus_base"]["pa_mpvpe_mm"] == pytest.approx(-1.0)
    low, high = mctf["minus_off_interval_95"]["pa_mpvpe_mm"]
    assert low <= 1.0 <= high
    assert high - low < 1e-6  # the noise is common to both
    assert (tome["best_at"], mctf["best_at"]) == ({"time": ["8x16"]}, {"tokens": ["8x16"], "flops": ["8x16"]})
    assert pool["near_best_at"] == {"tokens": ["8x16"], "flops": ["8x16"]}
    assert (off["front"], tome["front"]) == (["tokens", "flops", "time"], ["time"])
    table = METHOD_TABLES["methods"]
    shown = {title: show(mctf) for title, show in table.columns}
    assert (shown["FLOPs"], shown["over the floor"]) == ("50 %", "+10.0 % (+10.0 to +10.0)")
    text = show_best([off, tome, mctf, pool])
    assert "| 8x16 | **mctf `8x16`** 10.94 mm" in text
    assert "no worse for sure: pool `8x16`" in text
    assert "| 8x16 |" not in show_best([off])


@pytest.mark.parametrize("is_timed", [True, False])
def test_the_figure_shows_every_cost_that_is_known(results, is_timed, tmp_path):
    timed = {"speedup": 2.0, "speedup_quartiles": [2, 2], "overhead": 0.1, "overhead_quartiles": [0.1, 0.1]}
    lines = combine(results, dict.fromkeys(results.runs, timed) if is_timed else {})
    with style.styled():
        figure = methods.draw(lines)
        labels = [axes.get_xlabel() for axes in figure.axes if axes.axison]
        assert len(labels) == (4 if is_timed else 3)
        assert ("time (% of off, measured in turn)" in labels) == is_timed
        assert clipped(figure) == []
        (tmp_path / "figure").mkdir()
        check_saved(lambda: methods.draw(lines), tmp_path / "figure")


def test_what_a_threshold_keeps_is_the_mean_over_pictures(results):
    plans = (Planned(Way("8x16"), "8x16", 0.5), Planned(Way("8x16", "mctf"), "8x16", 0.5, 61.5))
    assert [line["tokens_kept"] for line in combine(Asked(results.model, plans, 40), {})] == [192, 64, 61.5]


def test_thresholds_are_found_once(monkeypatch, tmp_path):
    asked = []

    def find(program, model, method, share, pictures):
        asked.append(share)
        return SimpleNamespace(schedule="threshold:0.5", flops_share=share, kept=63.04)

    monkeypatch.setattr(method_thresholds, "equal_threshold", find)
    monkeypatch.setattr(method_thresholds, "file_sha256", lambda path: "weights")
    model = replace(BUNDLED["hamer"], folder=tmp_path)
    first, again = (find_thresholds(model, SHAPE, Way("8x16", "ltmp")) for _ in range(2))
    assert first == again == Counted("threshold:0.5", asked[0], 63.0)
    assert asked == [flops_of("tome", "8x16", SHAPE) / flops_of("tome", "off", SHAPE)]
    find_thresholds(model, SHAPE, Way("5x20", "ltmp"))
    assert len(asked) == 2


@pytest.mark.parametrize("flags", [[], ["--method", "mctf", "--r", "8x16"]])
def test_lists_of_a_user_leave_the_published_lines_alone(results, monkeypatch, tmp_path, capsys, flags):
    published, own = [], tmp_path / "results" / "hamer-methods.jsonl"
    monkeypatch.setitem(compare_methods.BUNDLED, "hamer", replace(results.model, folder=tmp_path))
    monkeypatch.setattr(compare_methods, "plan", lambda ways, shape, count: results.plans)
    program = SimpleNamespace(load_model=lambda checkpoint: None)
    monkeypatch.setattr(compare_methods, "find_program", lambda name: program)
    monkeypatch.setattr(method_times, "file_sha256", lambda path: "weights")
    monkeypatch.setattr(compare_methods, "shape_of", lambda program, model: SHAPE)
    monkeypatch.setattr(type(results.model), "lines", lambda self, what: tmp_path / "published.jsonl")
    for module, name in ((figures, "redraw"), (update_tables, "main"), (method_costs, "main")):
        monkeypatch.setattr(module, name, lambda files: published.append(files) or 0)
    assert compare_methods.main(["--model", "hamer", "--stage", "draw", "--limit", "40", *flags]) == 0
    assert own.is_file() == bool(flags)
    assert (tmp_path / "published.jsonl").is_file() == bool(published) == (not flags)
    assert ("**mctf `8x16`**" in capsys.readouterr().out) == bool(flags)


def test_runs_that_were_not_measured_are_named(results):
    wanted = Asked(results.model, (*results.plans, Planned(Way("5x20"), "5x20", 0.6)), 40)
    with pytest.raises(InputError, match=r"has not measured tome 5x20 copy on 40 samples .* --stage errors"):
        combine(wanted, {})
    with pytest.raises(InputError, match="has not measured tome off copy"):
        combine(Asked(results.model, results.plans, 41), {})


def test_a_damaged_line_counts_as_not_measured(results):
    path = results.model.results("synthhand")
    lines = path.read_text().splitlines()
    broken = [json.loads(line) for line in lines]
    for name in ("method", "files", "interval_95"):
        del broken[1][name]
        path.write_text("".join(f"{line}\n" for line in (*lines, json.dumps(broken[1]), '{"torn')))
        assert len(combine(results, {})) == 4
        path.write_text("".join(json.dumps(line) + "\n" for line in broken))
        with pytest.raises(InputError, match="has not measured tome 8x16 copy"):
            combine(results, {})


def test_more_samples_than_the_set_has_are_all_of_it(results):
    path = results.model.results("synthhand")
    lines = [{**json.loads(line), "limit": 99} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for limit in (40, 99):
        assert len(combine(replace(results, limit=limit), {})) == 4
    with pytest.raises(InputError, match="on 50 samples"):
        combine(replace(results, limit=50), {})


def test_times_of_another_batch_size_or_code_are_not_taken(results, monkeypatch, tmp_path):
    asked = replace(results, model=replace(results.model, folder=tmp_path))
    monkeypatch.setattr(method_times, "file_sha256", lambda path: "weights")
    code = ["one"]
    monkeypatch.setattr(method_times, "code_sha256", lambda folder: code[0])
    line = {"key": method_times._key(asked, 8), "method": "tome", "schedule": "8x16", "restore": "copy"}
    whole = {**line, **dict.fromkeys(method_times._FIELDS, 1.0)}
    asked.times.parent.mkdir()
    damaged = [{"key": line["key"]}, {**line, "method": "mctf"}]
    asked.times.write_text("".join(json.dumps(one) + "\n" for one in (whole, *damaged)))
    assert list(method_times.known_times(asked, 8)) == [("tome", "8x16", "copy")]
    assert method_times.known_times(asked, 4) == {}
    code[0] = "two"
    assert method_times.known_times(asked, 8) == {}


def test_costs_within_noise_of_times_count_as_equal():
    base = {"method": "tome", "restore": "copy", "profile": PUBLISHED, "schedule": "8x16", "budget": "8x16"}
    rows = [
        {**base, "pa_mpvpe_mm": 12.0, "speedup": 2.0},
        {**base, "method": "a", "pa_mpvpe_mm": 11.0, "speedup": 1.97},
        {**base, "method": "b", "pa_mpvpe_mm": 10.0, "speedup": 1.9},
    ]
    rows = [{**row, "tokens_kept": 64, "flops_share": 0.5} for row in rows]
    found = judge(rows, lambda a, b: True)
    assert [row["best_at"].get("time") for row in found] == [None, ["8x16"], None]


def test_few_tokens_at_the_end_of_late_merging_are_not_cheap():
    base = {"method": "tome", "restore": "copy", "profile": PUBLISHED, "schedule": "8x16", "budget": "8x16"}
    base |= {"tokens_kept": 64, "flops_share": 0.5, "speedup": None}
    late = {**base, "profile": "late", "budget": "2x20", "tokens_kept": 60, "flops_share": 0.9}
    found = judge([{**base, "pa_mpvpe_mm": 12.0}, {**late, "pa_mpvpe_mm": 11.0}], lambda a, b: True)
    assert [row["best_at"] for row in found] == [{"tokens": ["8x16"], "flops": ["8x16"]}, {}]
    assert [row["front"] for row in found] == [["tokens", "flops"], ["flops"]]
