"""The page's parts around a toy model, and pictures."""

import pytest
from toy_demo import demo_program, write_pictures

from shared_tmu.page import catalog as catalogs
from shared_tmu.page.catalog import Catalog
from shared_tmu.page.handlers import Handlers


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    program = demo_program(tmp_path / "model")
    monkeypatch.setattr(catalogs, "find_program", lambda name: program)
    return Catalog("cpu", ("toy",))


@pytest.fixture
def handlers(catalog, tmp_path):
    (tmp_path / "results").mkdir(exist_ok=True)
    return Handlers(catalog, tmp_path / "results")


@pytest.fixture
def picture(tmp_path):
    """As if a user had uploaded it."""
    return write_pictures(tmp_path / "results" / "upload") / "a.jpg"
