"""A folder said once: where its files go, and what its model must say about itself."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_hand_model import ToyHand, program_of

from shared_tmu.errors import ConfigError
from shared_tmu.programs.estimates import BODY, HAND


def test_an_installed_model_keeps_nothing_beside_its_code(tmp_path):
    program = program_of(tmp_path / "Toy_TMU", None, tmp_path)
    assert program.results_dir == tmp_path / "Toy_TMU" / "results"
    assert program.data_dir == tmp_path / "data"
    installed = replace(program, folder=tmp_path / "site-packages" / "toy_tmu")
    assert (installed.results_dir, installed.data_dir) == (Path("results"), Path("data"))


def configured(**fields):
    """A model with such a configuration."""
    model = ToyHand()
    model.config = SimpleNamespace(**fields)
    return model


@pytest.mark.parametrize(
    ("estimates", "fields", "size", "grid"),
    [
        (HAND, {"image_size": 64, "backbone": SimpleNamespace(grid=(8, 8))}, (64, 64), (8, 8)),
        (BODY, {"encoder": SimpleNamespace(img_size=(128, 96), grid=(8, 6))}, (128, 96), (8, 6)),
    ],
    ids=["hand", "body"],
)
def test_sizes_are_read_from_the_configuration(estimates, fields, size, grid):
    model = configured(**fields)
    assert (estimates.input_size(model), estimates.grid(model)) == (size, grid)
    assert estimates.crops(model, 2)["img"].shape == (2, 3, *size)


@pytest.mark.parametrize(("estimates", "size"), [(HAND, "image_size"), (BODY, "encoder.img_size")])
def test_a_configuration_that_says_nothing_is_an_error_and_no_guess(estimates, size):
    for fields in ({}, {"backbone": SimpleNamespace()}, {"encoder": SimpleNamespace()}):
        with pytest.raises(
            ConfigError,
            match=rf"config\.{size} is needed to cut crops and to draw tokens, and this ToyHand has none",
        ):
            estimates.input_size(configured(**fields))
        with pytest.raises(ConfigError, match=r"config\.\w+\.grid is needed"):
            estimates.grid(configured(**fields))
