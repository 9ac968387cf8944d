"""What every hand folder's train.py does, on this folder's model; adversarial training by two processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from folder import FOLDER
from omegaconf import OmegaConf
from suites.hand_training import HandTrainingSuite

from shared_tmu.training.drawing import cores

TWO_DEVICES = """
import sys
from omegaconf import OmegaConf
from hamer_tmu.tmu.program import PROGRAM
from shared_tmu.synth import shards
from shared_tmu.training import data
from shared_tmu.training.command import reported
from shared_tmu.training.program import train

shards.SHARD = data.SHARD = 8
with reported():
    train(PROGRAM, OmegaConf.load(sys.argv[1]))
"""


class TestTraining(HandTrainingSuite):
    folder = FOLDER

    @pytest.mark.skipif(cores() < 2, reason="one processor core")
    @pytest.mark.parametrize(("batch", "error"), [(4, None), (5, "but 2 devices share every batch")])
    def test_the_published_recipe_alternates_on_two_devices(
        self, tmp_path: Path, cache: Path, batch: int, error: str | None
    ) -> None:
        start, out = tmp_path / "start.safetensors", tmp_path / "on"
        FOLDER.save(FOLDER.tiny(depth=1), start)
        places = {"checkpoint": str(start), "out": str(out), "cache": str(cache)}
        sizes = {"data_seed": 1, "count": 8, "steps": 3, "batch_size": batch, "workers": 0, "lr": 1e-3}
        device = {"accelerator": "cpu", "devices": 2, "precision": "32-true"}
        recipe, script = tmp_path / "recipe.yaml", tmp_path / "two.py"
        OmegaConf.save(OmegaConf.merge(self.composed("published"), places, sizes, device), recipe)
        script.write_text(TWO_DEVICES, encoding="utf-8")
        command = [sys.executable, str(script), str(recipe)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if error is not None:
            assert done.returncode != 0
            assert error in done.stderr
            return
        assert done.returncode == 0, done.stderr[-3000:]
        first = FOLDER.load(start).state_dict()
        second = FOLDER.load(out / f"{FOLDER.program.published}.safetensors").state_dict()
        assert any(not torch.equal(second[key], value) for key, value in first.items())
