"""Settings of train.py that cannot be: each is refused in one sentence, before anything begins."""

from pathlib import Path

import pytest
from commands import run_command
from folder import FOLDER
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from shared_tmu.errors import TMUError
from shared_tmu.training import trainer
from shared_tmu.training.command import describe
from shared_tmu.training.program import check_recipe
from shared_tmu.training.recipes import PublishedRecipe, check_overrides, read_recipe

STAGE = {
    "images": "-1 0 1 abc 1.5 null true [1] 1e30 10000000000000000000000",
    "lr": "0 -1 nan inf 5 1e308 fast null {a:1} '???'",
    "batch_size": "0 -4 1000000000 13000 x",
    "depth": "0 -8 1000000000 64 deep",
    "seed": "-1 4294967296 900000 x null",
    "count": "0 -5 10 100000000000 1.5",
    "warmup": "-1 nan",
    "matrix_factor": "-1 0 inf x",
    "embedding_factor": "nan -3",
    "anneal": "2 -0.5 nan",
    "keep_patches": "100000 0 193 -1 many",
    "full_share": "2 -0.1 nan 0.5 most",
    "hard_share": "1 -0.1 nan most",
    "silhouette_block": "-1 8 1000 1.5 first",
    "weights": "{nope:1} {betas:-1} {betas:nan} {vertices:x} 3 [1] {photo_heat:1} {head:0}",
    "difficulty": "hard null {max_turn_deg:0} {max_turn_deg:nan} {clutter:2} {variety:-1} {wild:1} "
    "{degrade:inf}",
    "also": "5 [5] [{}] [{seed:1}] [{seed:-1,count:5}] [{seed:1,count:0}] [{seed:1,count:5,x:1}] "
    "{seed:1,count:5} [{seed:900000,count:5}] [{seed:1,count:5,difficulty:{variety:3}}]",
    "imges": "5",
    "name": "other",
}  # fmt: skip
SETTING = {
    "accelerator": "quantum tpu null 3",
    "devices": "0 -1 100000 many [0] 1.5 true null ''",
    "precision": "8 float128 16-mixed null",
    "workers": "-1 100000 two",
    "draw_processes": "0 -2 99999",
    "draw_first": "0 -5 1.5",
    "val_seed": "-1 2",
    "val_count": "0 -1",
    "val_every": "0 -3 2.5",
    "save_every": "0 -1",
    "max_minutes": "0 -5 nan inf soon",
    "seed": "-1 4294967296 1.5",
    "compile": "5 maybe null",
    "unknown": "1",
    "out": "elsewhere",
}
TOP = {
    "stages": "null 5 {} []",
    "setting": "null 5 {}",
    "photos_share": "2 -1 nan null 0.5",
    "photos": "/nonexistent 5 '' /dev/null",
    "out": "'' null 5 [a] /dev/null/x",
    "cache": "'' null 7 /proc/nowhere",
    "export_to": "null ''",
    "export_only": "maybe 2 null",
    "recipe": "other published null 5",
    "start_from": "5 ''",
    "backbone_from": "'' [1]",
    "model": "null 5 {}",
    "model.backbone": "null 5",
    "model.backbone.embed_dim": "0 -1 127 x 256",
    "model.backbone.num_heads": "0 3",
    "model.backbone.mlp_ratio": "nan inf 1e300",
    "model.backbone.drop_path_rate": "1 nan -0.1",
    "model.backbone.depth": "5",
    "model.backbone.img_size": "[128,96]",
    "model.backbone.patch_size": "8",
    "model.backbone.unknown": "1",
    "foo": "1",
}
PUBLISHED = {
    "lr": "0 nan -1 2",
    "steps": "0 -5 x",
    "count": "5 0",
    "batch_size": "0 x",
    "weight_decay": "-1 nan",
    "losses": "5 {betas:-1} {betas:nan} {nope:1} {betas:x} "
    "{adversarial:0,betas:0,keypoints_3d:0,keypoints_2d:0,global_orient:0,hand_pose:0}",
    "save_every": "0",
    "workers": "-1",
    "seed": "-1",
    "data_seed": "-1",
    "precision": "half",
    "accelerator": "abacus",
    "out": "''",
    "checkpoint": "''",
    "mano_path": "5",
    "stages": "1",
    "photos": "x",
}


def cases(prefix, table):
    return [f"{prefix}{name}={value}" for name, values in table.items() for value in values.split(" ")]


STAGES_CASES = [
    *cases("stages.easy.", STAGE),
    *cases("setting.", SETTING),
    *cases("", TOP),
    "stages.easy=5",
    "stages.deep.depth=4",
]


@pytest.fixture(scope="module")
def composed():
    """The shipped configurations, with the first and the last of the stages: each takes time to read."""
    with initialize_config_dir(str(FOLDER.root / "configs"), version_base="1.3"):
        found = {name: OmegaConf.to_container(compose(name)) for name in ("train", "published")}
    stages = found["train"]["stages"]
    found["train"]["stages"] = {name: stages[name] for name in ("easy", "deep")}
    return found


def changed(content, text):
    """A configuration in which something is set, whether it was there or not."""
    config = OmegaConf.create(content)
    for one in OverridesParser.create().parse_overrides([text]):
        key, value = one.key_or_group, one.value()
        parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
        parent[key.rpartition(".")[2]] = value
    return config


def check(content, text):
    """What train.py does first."""
    check_overrides([text])
    recipe = read_recipe(changed(content, text))
    assert not isinstance(recipe, PublishedRecipe)
    check_recipe(FOLDER.program, recipe)


def assert_one_sentence(error):
    said = describe(error)
    assert said
    assert "\n" not in said.strip()
    assert len(said) < 500
    assert "Traceback" not in said


@pytest.mark.parametrize("text", STAGES_CASES)
def test_bad_settings_of_stages(composed, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TMUError) as caught:
        check(composed["train"], text)
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("text", cases("", PUBLISHED))
def test_bad_settings_of_the_published_recipe(composed, text):
    with pytest.raises(TMUError) as caught:
        read_recipe(changed(composed["published"], text))
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("name", ["../easy", "..", "", "a/b", "curve.csv", "a\nb", "x" * 300])
def test_a_stage_is_called_like_a_folder(composed, name):
    content = {**composed["train"], "stages": {name: composed["train"]["stages"]["easy"]}}
    with pytest.raises(TMUError, match="a stage cannot have the name"):
        read_recipe(OmegaConf.create(content))


@pytest.mark.parametrize(
    "text", ["setting.seed=7", "stages.easy.lr=1e-3", "photos_share=0.2", "out=somewhere"]
)
def test_good_settings_are_taken(composed, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer, "check_folders", lambda folders: None)
    recipe = read_recipe(changed(composed["train"], text))
    check_recipe(FOLDER.program, recipe)
    key, _, value = text.partition("=")
    assert value in {"somewhere": str(recipe.setting.out)} or key != "out"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train", "foo=1"),
        ("train", "foo"),
        ("train", "stages.easy.lr={"),
        ("train", "stages.easy=[]"),
        ("train", "+experiment=nope"),
        ("nope", "foo=1"),
        ("base", "foo=1"),
        ("train", "stages.easy.lr=${nope}"),
        ("train", "stages.easy.lr=" + 300 * "{a:"),
    ],
)
def test_errors_of_hydra_are_one_sentence(name, text):
    with (
        initialize_config_dir(str(FOLDER.root / "configs"), version_base="1.3"),
        pytest.raises((TMUError, HydraException, RecursionError)) as caught,
    ):
        read_recipe(compose(name, overrides=[text]))
    assert_one_sentence(caught.value)


@pytest.mark.parametrize(
    "words",
    [["--config-name", "nope"], ["stages.easy.images=-1", "stages.easy.seed=-1"]],
)
def test_the_command_says_one_line_and_fails(words, tmp_path, monkeypatch, capsys):
    """Hydra's own errors and ours, as a user sees them."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    done = run_command(FOLDER.root / "train.py", [f"out={tmp_path}", *words], monkeypatch, capsys)
    assert done.code == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("ConfigError: ")
    assert not list(Path(tmp_path).iterdir())
