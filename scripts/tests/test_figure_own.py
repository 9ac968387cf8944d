"""figures.py: a user's own results, and the command line."""

import json
import re

import figures
import pytest
from figure_parts import style
from figure_parts.own import own_figures
from test_comparison import CONTROLS, TMU

from shared_tmu.errors import InputError

MORE = {"weights_sha256": "w", "dataset_sha256": "d", "machine": {"processor": "x"}, "scale_bias_pct": -1.0}
TIMED = [{**run, **MORE, "images_per_s": 10.0 + 5 * number} for number, run in enumerate(TMU)]
OTHERS = [{**run, **MORE} for run in CONTROLS]


@pytest.fixture
def quick(monkeypatch):
    """Figures are drawn, and not saved."""
    names = lambda figure, stem: [stem.with_suffix(f".{suffix}") for suffix in ("png", "svg")]  # noqa: E731
    monkeypatch.setattr(style, "save", names)


def write(folder, runs, name="runs.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(run) + "\n" for run in runs))
    return folder


def test_own_runs_give_every_figure_that_they_allow(tmp_path, capsys):
    folder = write(tmp_path / "results" / "deep", TIMED + OTHERS).parent
    (folder / "metadata.json").write_text("{}")
    assert figures.main(["--results", str(folder)]) == 0
    names = [
        f"smplest_x_synthbody_{kind}.{s}" for kind in ("curves", "drift", "merging") for s in ("png", "svg")
    ]
    assert sorted(path.name for path in (folder / "figures").iterdir()) == names
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert figures.main(["--results", str(folder), "drift", "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names[2:4]


def test_other_weights_with_the_same_name_do_not_replace_the_first(quick, tmp_path, capsys):
    other = [{**run, "weights_sha256": "v"} for run in TIMED]
    folder = write(tmp_path, TIMED + other)
    assert figures.main(["--results", str(folder), "drift"]) == 0
    names = [line.rpartition("/")[2] for line in capsys.readouterr().out.split() if line.endswith("svg")]
    assert names == ["smplest_x_synthbody_drift.svg", "smplest_x_synthbody_drift_2.svg"]


def test_times_are_compared_with_those_that_were_measured_alike(quick, tmp_path, capsys):
    controls = [{**run, "images_per_s": None, "batch_size": 4, "commit": "b"} for run in OTHERS]
    here = {"batch_size": 16, "packed": True, "commit": "a", "machine": {"processor": "x", "cpu_threads": 2}}
    alike = [{**run, **here} for run in TIMED]
    folder = write(tmp_path, [*alike, *controls])
    assert [figure.stem for figure in own_figures(folder, figures.ASSETS, ("curves",))[0]] == [
        "smplest_x_synthbody_curves"
    ]
    for change in ({"batch_size": 1}, {"packed": False}, {"commit": "b"}, {"machine": {"processor": "x"}}):
        write(tmp_path, [{**alike[0], **change, "images_per_s": 90.0}, *alike[1:], *controls])
        assert figures.main(["--results", str(folder)]) == 1
        out, problems = capsys.readouterr()
        assert "_merging.svg" in out  # errors do not depend on it
        assert "not drawn as curves, for none of these 2 is --r off" in problems
    write(tmp_path, [*alike, *({**run, "batch_size": 1} for run in alike)])
    assert figures.main(["--results", str(folder), "curves"]) == 0
    assert capsys.readouterr().out.count("svg") == 2


BROKEN = {
    "text for a number": ({"pa_mpvpe_mm": "60"}, "pa_mpvpe_mm is '60', not a number"),
    "nothing for a number": ({"scale_bias_pct": None}, "scale_bias_pct is None, not a number"),
    "no number": ({"pa_mpvpe_mm": float("nan")}, "pa_mpvpe_mm is nan, not a number"),
    "no error at all": ({"pa_mpvpe_mm": 0}, "pa_mpvpe_mm is 0, not above 0"),
    "a list": ({"model": ["HaMeR"]}, r"model is \['HaMeR'\], not a text"),
    "a count": ({"tokens_kept": "all"}, "tokens_kept is 'all', not a count"),
    "half an interval": ({"minus_off_interval_95": {"pa_mpvpe_mm": [1]}}, "no two ends"),
}


@pytest.mark.parametrize(("change", "told"), BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_told_and_does_not_stop_the_others(quick, tmp_path, capsys, change, told):
    write(tmp_path, TIMED, "good.jsonl")
    write(tmp_path, [TIMED[1] | change], "broken.jsonl")
    assert figures.main(["--results", str(tmp_path), "merging"]) == 1
    out, problems = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert len(problems.splitlines()) == 1
    assert re.search(rf"broken\.jsonl: .*{told}", problems)


def test_runs_without_off_are_told(quick, tmp_path, capsys):
    write(tmp_path, [*TIMED, {**TIMED[1], "n": 7}])
    assert figures.main(["--results", str(tmp_path), "merging"]) == 1
    assert "SMPLest-X on synthbody, n = 7: a comparison needs the unpatched model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff", b"{}\n", b"[1, 2]\n", b'{"model": "HaMeR"}\n', json.dumps(TIMED[0]).encode()],
)
def test_nothing_to_draw_is_one_sentence(tmp_path, content):
    (tmp_path / "some.jsonl").write_bytes(content)
    (tmp_path / "some.json").write_bytes(content)
    with pytest.raises(
        InputError, match=r"has no result to draw as curves, merging, drift, cka.*: looked in 1"
    ):
        figures.main(["--results", str(tmp_path)])
    assert not (tmp_path / "figures").exists()


def test_a_named_figure_that_is_not_drawn_is_told(quick, tmp_path, capsys):
    write(tmp_path, [{**run, "images_per_s": None} for run in TIMED])
    assert figures.main(["--results", str(tmp_path), "curves", "merging"]) == 1
    out, problems = capsys.readouterr()
    assert "synthbody_merging.svg" in out
    assert "has no result to draw as curves" in problems
    with pytest.raises(InputError, match=r"as curves: .* as cka: "):
        figures.main(["--results", str(tmp_path), "curves", "cka"])


def test_what_cannot_be_is_refused_by_name(tmp_path, capsys):
    with pytest.raises(InputError, match="is not a folder"):
        figures.main(["--results", str(tmp_path / "none")])
    with pytest.raises(InputError, match="overview cannot be drawn from --results: only curves, merging"):
        figures.main(["--results", str(tmp_path), "overview"])
    with pytest.raises(InputError, match="there is no figure 'curve': --list names them"):
        figures.main(["curve"])
    for words, told in (
        (["--results", "x", "--all", "--run"], "leave out --all, --run"),
        (["--all", "--photos", "x"], "add --run"),
        ([], "name figures, or give --all"),
    ):
        with pytest.raises(SystemExit):
            figures.main(words)
        assert told in capsys.readouterr().err


def test_a_figure_without_its_results_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    (tmp_path / "bench").mkdir()
    for name in ("bench/hamer_profile_cpu.jsonl",):
        (tmp_path / name).write_bytes((figures.ASSETS / name).read_bytes())
    monkeypatch.setattr(figures, "ASSETS", tmp_path)
    assert figures.main(["growth", "cost", "--out", str(tmp_path / "out")]) == 1
    out, problems = capsys.readouterr()
    assert [path.rpartition("/")[2] for path in out.split()] == ["cost.png", "cost.svg"]
    assert "growth is not drawn: bench/scale_cpu.jsonl was not measured yet" in problems


def test_the_list_names_kinds_and_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "ASSETS", tmp_path)
    assert figures.main(["--list"]) == 0
    text = capsys.readouterr().out
    assert "cannot be drawn without hamer_cka.json" in text
    assert {line.split()[0] for line in text.splitlines() if line[0] != " "} >= {
        *("overview", "curves", "demo", "vertices", "drift", "tokens", "cka", "cost", "overhead")
    }
