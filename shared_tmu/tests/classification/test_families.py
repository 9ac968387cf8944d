"""The table of families: every line is what a small model of the family does."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from shared_tmu.classification.families import judge, show_row
from shared_tmu.classification.family_list import FAMILIES, WITHOUT_BLOCKS

PAGE = (Path(__file__).parents[2] / "FAMILIES.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model)
def test_the_page_says_what_the_family_does(timm, family):
    assert show_row(judge(family)) in PAGE.splitlines()


def test_every_module_of_timm_is_in_the_table_or_has_no_blocks(timm):
    known = {family.module for family in FAMILIES} | set(WITHOUT_BLOCKS)
    if version("timm").startswith("1.0."):
        assert set(timm.list_modules()) <= known
