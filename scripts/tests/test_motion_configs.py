"""Every model with a feature for a temporal decoder can train one: its folder has the configuration."""

from importlib import import_module

import pytest
from bundled import BUNDLED
from hydra import compose, initialize_config_dir

from shared_tmu.body_models import load_mano, load_smplx
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.training.motion.recipe import MotionRecipe
from shared_tmu.training.motion.run import check_motion
from shared_tmu.training.recipes import read_recipe


@pytest.mark.parametrize("name", BUNDLED)
def test_the_motion_recipe_fits_the_model(name: str) -> None:
    model = BUNDLED[name]
    assert import_module(f"{model.package}.tmu.program").PROGRAM.feature is not None
    with initialize_config_dir(str(model.folder / "configs"), version_base="1.3"):
        recipe = read_recipe(compose("motion"))
    assert isinstance(recipe, MotionRecipe)
    check_motion(ManoLayer(load_mano()) if model.subject == "hand" else SmplxLayer(load_smplx()), recipe)
