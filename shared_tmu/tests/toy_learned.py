"""Training of learned parts at toy size: tokens instead of pictures, a ViT of three blocks, no body."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from toy_training import PlainSet
from toy_vit import ToyViT

from shared_tmu import patch
from shared_tmu.training.learned.objective import Objective
from shared_tmu.training.learned.recipe import LearnedRecipe

METHODS_THAT_LEARN = ("diffrate", "dtem", "fpet", "ltmp", "crossget")
GRID, WIDTH, DEPTH, TASKS = (4, 6), 32, 3, 2


class TokenSet(PlainSet):
    """Tokens drawn from the number of the picture: four that repeat, with noise, so that some are alike."""

    def packed(self, index: int, chance: int | None) -> dict[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(index)
        means = torch.randn(4, WIDTH, generator=draw)
        which = torch.randint(4, (GRID[0] * GRID[1],), generator=draw)
        noise = torch.randn(len(which), WIDTH, generator=draw)
        return {"img": means[which] + 0.5 * noise}


class TokenObjective(Objective):
    """The mean token, and its distance from that without merging."""

    def read(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mean": tokens.mean(1, keepdim=True)}

    def truth_losses(self, tokens: torch.Tensor, batch: Any) -> dict[str, torch.Tensor]:
        whole = self.model(batch["img"])
        return {"truth": (tokens - whole).square().mean()}

    def errors_mm(self, tokens: torch.Tensor, batch: Any) -> torch.Tensor:
        return (tokens - self.model(batch["img"])).norm(dim=-1).mean(1)

    def true_vertices(self, batch: Any) -> torch.Tensor:
        raise NotImplementedError


def read_mean(output: dict[str, torch.Tensor]) -> torch.Tensor:
    return output["mean"][..., :3]


class Program:
    """As much of a `ModelProgram` as the training needs: the model is the ViT itself."""

    name = "Toy"
    default_checkpoint = Path("toy.safetensors")
    estimates = SimpleNamespace(
        vit=lambda model: model, grid=lambda model: GRID, vertices=read_mean, joints=read_mean
    )

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def load_model(self, *_: Any) -> nn.Module:
        return self.model

    @staticmethod
    def patch(model: nn.Module, schedule: Any, method: str = "tome", **options: Any) -> Any:
        options = {"num_prefix_tokens": model.num_prefix_tokens, "grid": GRID, **options}
        return patch(model, schedule, method, **options)


def build(tasks: int = TASKS, depth: int = DEPTH, seed: int = 3) -> ToyViT:
    """A ViT whose weights a seed gives."""
    torch.manual_seed(seed)
    vit = ToyViT(depth=depth, task_tokens=tasks, width=WIDTH).eval()
    vit.num_prefix_tokens = tasks
    return vit


def batch_of(count: int = 4) -> dict[str, torch.Tensor]:
    """A batch."""
    tokens = TokenSet.__new__(TokenSet)
    return {"img": torch.stack([tokens.packed(index, None)["img"] for index in range(count)])}


def recipe(folder: Path, method: str, **changes: Any) -> LearnedRecipe:
    """Six steps on one CPU thread."""
    torch.set_num_threads(1)
    given: dict[str, Any] = {
        **{"method": method, "r": "4x3", "out": folder / "out", "cache": folder / "cache", "images": 24},
        **{"data_seed": 1, "count": 8, "val_seed": 2, "val_count": 8, "batch_size": 4, "warmup": 1},
        **{"accelerator": "cpu", "devices": 1, "workers": 0, "draw_processes": 1, "save_every": 2},
    }
    return LearnedRecipe(**{**given, **changes})


def numbers(module: nn.Module) -> dict[str, Any]:
    """All parameters, to compare."""
    return {name: np.array(value.detach()) for name, value in module.state_dict().items()}
