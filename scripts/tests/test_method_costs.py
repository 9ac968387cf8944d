"""The sentences on costs in the docstrings of methods."""

import ast
import re

import method_costs
import pytest
from method_costs import START, files_of, sentence, with_sentence

from shared_tmu.methods import METHODS


def line(method, overhead=0.25, **more):
    return {
        **{"method": method, "schedule": "8x16", "budget": "8x16", "restore": "copy", "profile": "published"},
        **{"overhead": overhead, "overhead_quartiles": [0.2, 0.3], "model": "HaMeR", "timed_batch_size": 8},
        **{"timed_threads": 2, "machine": {"processor": "Some CPU"}},
        **more,
    }


def test_docstrings_say_what_was_measured():
    assert method_costs.main(["--check"]) == 0


def test_every_row_is_in_the_file_of_its_plan():
    found = files_of(METHODS)
    assert sorted(name for names in found.values() for name in names) == sorted(METHODS)
    assert {path.stem for path, names in found.items() if "tofu-pitome" in names} == {"tofu"}


def test_only_what_was_timed_is_said():
    lines = [line("tofu"), line("tofu", 9.0, budget="5x20", schedule="5x20"), line("tofu-pitome", None)]
    assert sentence(["tofu"], lines).startswith(f"{START}: +25 % (+20 to +30); HaMeR-Thin, 8x16, 8 images")
    assert "tofu +25 %" in sentence(["tofu", "tofu-pitome"], lines)
    assert "tofu-pitome" not in sentence(["tofu", "tofu-pitome"], lines)
    assert sentence(["tofu-pitome"], lines) == ""
    assert "+900 %" not in sentence(["tofu"], lines)
    assert "144x32" in sentence(["tomesd"], [line("tomesd", schedule="144x32", budget="5x20")])


@pytest.mark.parametrize("path", files_of(METHODS), ids=lambda path: path.stem)
def test_a_sentence_is_put_once_into_the_docstring_and_replaced_there(path):
    source = path.read_text(encoding="utf-8")
    first = with_sentence(source, sentence(["a"], [line("a")]))
    second = with_sentence(first, sentence(["a"], [line("a", 0.5)]))
    assert with_sentence(second, sentence(["a"], [line("a", 0.5)])) == second
    for text, number in ((first, "+25 %"), (second, "+50 %")):
        docstring = ast.get_docstring(ast.parse(text))
        assert docstring.count(START) == 1
        assert f"{START}: {number}" in docstring
        assert max(map(len, text.splitlines())) <= 110
    assert with_sentence(first, "") == first
    before, after = (re.sub(r"\s+", " ", text.split('"""', 2)[2]) for text in (source, second))
    assert before == after
