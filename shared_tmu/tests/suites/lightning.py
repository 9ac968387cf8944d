"""Training and evaluating a hand model with Lightning: the published losses and checkpoints."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from shared_tmu.errors import ConfigError, InputError
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.training.published import HandModule
from shared_tmu.training.published_losses import LossWeights, supervised_losses, weighted_sum

from .hands import HandFolder, mano_standin, run

SUPERVISED = LossWeights(adversarial=0.0)


class Hands(Dataset[dict[str, Tensor]]):
    """Random crops with targets that a model with the right weights could reach."""

    def __init__(self, real: bool = False) -> None:
        self.real = real

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        turns = axis_angle_to_rotmat(0.3 * torch.randn(16, 3, generator=generator))
        sample = {
            "img": torch.randn(3, 128, 128, generator=generator),
            "keypoints_2d": 0.2 * torch.randn(21, 2, generator=generator),
            "keypoints_3d": 0.05 * torch.randn(21, 3, generator=generator),
            "global_orient": turns[:1],
            "hand_pose": turns[1:],
            "betas": torch.zeros(10),
        }
        if self.real:
            sample |= {"real_hand_pose": turns[1:], "real_betas": torch.zeros(10)}
        return sample


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "max_steps": 4}
    return pl.Trainer(accelerator="cpu", default_root_dir=folder, **(quiet | options))


class LightningSuite:
    """`HandModule` around a folder's model."""

    folder: ClassVar[HandFolder]

    def small_model(self, **changes: Any) -> Any:
        torch.manual_seed(0)
        content = self.folder.case_config("small_grid", **changes).to_dict()
        content["backbone"]["depth"] = 1
        return self.folder.build(self.folder.config.from_dict(content), mano_standin())

    @pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
    def test_training_changes_weights_and_validates(self, tmp_path: Path, precision: Any) -> None:
        module = HandModule(self.small_model(), SUPERVISED, lr=1e-3)
        before = {name: value.clone() for name, value in module.named_parameters()}
        fitting = trainer(tmp_path, precision=precision, max_epochs=2, enable_checkpointing=False)
        fitting.fit(module, DataLoader(Hands(), 2), DataLoader(Hands(), 2))
        changed = [name for name, value in module.named_parameters() if not torch.equal(value, before[name])]
        assert any("backbone.blocks.0" in name for name in changed)
        assert any(self.folder.needed in name for name in changed)
        assert fitting.callback_metrics["val/pa_mpjpe_mm"] > 0
        assert set(fitting.callback_metrics) >= {"train/total", "val/keypoints_2d", "val/error_2d_px"}

    def test_a_model_learns_four_hands(self, tmp_path: Path) -> None:
        module = HandModule(self.small_model(), SUPERVISED, lr=2e-3)
        for block in module.model.backbone.blocks:
            block.drop_path = torch.nn.Identity()
        batch = next(iter(DataLoader(Hands(), 4)))
        start = weighted_sum(supervised_losses(module(batch), batch), SUPERVISED)
        trainer(tmp_path, max_steps=40, enable_checkpointing=False).fit(module, DataLoader(Hands(), 4))
        assert weighted_sum(supervised_losses(module(batch), batch), SUPERVISED) < 0.7 * start

    def test_adversarial_training_takes_turns(self, tmp_path: Path) -> None:
        module = HandModule(self.small_model(with_discriminator=True), lr=1e-3)
        before = {name: value.clone() for name, value in module.named_parameters()}
        fitting = trainer(tmp_path, max_epochs=2, enable_checkpointing=False)
        fitting.fit(module, DataLoader(Hands(real=True), 2))
        changed = [name for name, value in module.named_parameters() if not torch.equal(value, before[name])]
        assert any("discriminator.D_conv1" in name for name in changed)
        assert any("backbone.blocks.0" in name for name in changed)
        assert {"train/adversarial", "train/discriminator"} <= set(fitting.callback_metrics)

    def test_adversarial_training_says_what_it_needs(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"weight 0\.0005, but the model has no discriminator"):
            HandModule(self.small_model())
        module = HandModule(self.small_model(with_discriminator=True))
        with pytest.raises(InputError, match="needs 'real_hand_pose'"):
            trainer(tmp_path, enable_checkpointing=False).fit(module, DataLoader(Hands(), 2))

    def test_checkpoints_are_published_ones_and_resume(self, tmp_path: Path) -> None:
        module = HandModule(self.small_model(with_discriminator=True), lr=1e-3)
        data = DataLoader(Hands(real=True), 2)
        first = trainer(tmp_path, enable_checkpointing=False)
        first.fit(module, data)
        path = tmp_path / "epoch.ckpt"
        first.save_checkpoint(path)
        keys = set(torch.load(path, weights_only=True)["state_dict"])
        assert keys == set(module.model.state_dict())
        loaded = self.folder.load(path)
        img = torch.randn(2, 3, 128, 128)
        wanted = run(module.model.eval(), img)
        assert all(torch.equal(value, wanted[key]) for key, value in run(loaded, img).items())
        again = HandModule(self.small_model(with_discriminator=True), lr=1e-3)
        second = trainer(tmp_path, max_steps=8, enable_checkpointing=False)
        second.fit(again, data, ckpt_path=path)
        assert second.global_step == 8

    def test_prediction(self, tmp_path: Path) -> None:
        module = HandModule(self.small_model(), SUPERVISED)
        found = trainer(tmp_path).predict(module, DataLoader(Hands(), 2))
        assert found is not None
        assert [out["pred_vertices"].shape for out in found] == [(2, 778, 3)] * 2

    def test_perfect_predictions_cost_nothing(self) -> None:
        model = self.small_model().eval()
        with torch.no_grad():
            out = model({"img": torch.randn(3, 3, 128, 128)})
        batch = {"keypoints_3d": out["pred_keypoints_3d"] + 0.3, "keypoints_2d": out["pred_keypoints_2d"]}
        losses = supervised_losses(out, batch | out["pred_mano_params"])  # 3D errors: relative to the wrist
        names = ("keypoints_3d", "keypoints_2d", "global_orient", "hand_pose", "betas")
        found = {name: value.item() for name, value in losses.items()}
        assert found == pytest.approx(dict.fromkeys(names, 0.0), abs=1e-4)
