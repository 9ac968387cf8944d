"""plot_tradeoff.py: a figure from result lines, and a sentence where there are none."""

import json

import plot_tradeoff


def write_lines(path):
    shared = {
        "model": "HaMeR", "dataset": "freihand", "device": "cuda", "dtype": "float32", "batch_size": 16,
        "n": 9, "weights_sha256": "0", "machine": {"processor": "x"}, "method": "tome", "unmerge": True,
        "files": "none",
    }  # fmt: skip
    rows = [("off", 1.0, 5.7), ("5x20", 1.4, 5.75), ("10x16", 1.9, 6.2)]
    lines = [{**shared, "schedule": s, "speedup": x, "pa_mpvpe_mm": y} for s, x, y in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_figure_with_the_published_curve(tmp_path, capsys):
    results, out = write_lines(tmp_path / "results.jsonl"), tmp_path / "plot.svg"
    assert plot_tradeoff.main([str(results), "--published", "HaMeR", "--out", str(out)]) == 0
    assert out.read_text().startswith("<?xml")
    assert capsys.readouterr().out.strip() == str(out)


def test_no_results_is_one_sentence_and_a_status(tmp_path, capsys):
    assert plot_tradeoff.main([str(tmp_path / "none.jsonl")]) == 1
    assert "InputError: no timed results" in capsys.readouterr().err
