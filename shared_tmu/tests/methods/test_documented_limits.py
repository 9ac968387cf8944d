"""What the pages of the methods say about how many tokens they remove is what their rows say."""

from __future__ import annotations

import inspect
import re

import pytest

from shared_tmu import METHODS
from shared_tmu.methods.fpet import limit_fpet
from shared_tmu.methods.mctf import limit_mctf
from shared_tmu.methods.tome_kth import limit_kth
from shared_tmu.methods.tomesd import limit_tomesd
from shared_tmu.schedule import all_but_one, half

SAID = {
    half: "At most half of the tokens after the prefix are removed.",
    all_but_one: "Any number of tokens can be removed, as long as one ",
    limit_fpet: "At most half of the tokens after the prefix are removed, rounded up;",
    limit_kth: "At most all but every k-th of the tokens after the prefix are removed.",
    limit_mctf: "At most half of the tokens after the prefix are removed, and at least 10 tokens are left.",
    limit_tomesd: "At most 3/4 of the tokens after the prefix are removed",
}


@pytest.mark.parametrize("method", METHODS)
def test_a_page_says_the_limit_of_its_row(method: str) -> None:
    row = METHODS[method]
    page = " ".join((inspect.getmodule(row.step.plan).__doc__ or "").split())
    assert SAID[row.limit] in page
    assert len(re.findall("At most half|At most all|At most 3/4|Any number", page)) == 1
