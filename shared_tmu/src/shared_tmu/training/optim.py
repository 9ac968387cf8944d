"""One optimiser over two: Muon for the matrices inside blocks, AdamW for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class MuonAdamW(torch.optim.Optimizer):
    """Muon (orthogonalised momentum) on hidden matrices and AdamW on the rest, stepped together.

    Both use the AdamW scale of learning rates, so one schedule drives them; matrices step `matrix_factor` times further.

    Source: Jordan et al. 2024 (Muon); Liu et al. 2025, arXiv:2502.16982 (learning-rate matching).
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float,
        matrix_factor: float = 1.0,
    ) -> None:
        matrices, others = list(matrices), list(others)
        super().__init__([{"params": matrices, "lr": lr * matrix_factor}, {"params": others}], {"lr": lr})
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, weight_decay=0.0, betas=(0.9, 0.98)),
        ]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Step both with the learning rate that the scheduler set on this optimiser."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, part in zip(self.param_groups, self.parts, strict=True):
            part.param_groups[0]["lr"] = group["lr"]
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """State of both parts."""
        return {"parts": [part.state_dict() for part in self.parts], "lr": [g["lr"] for g in self.param_groups]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        for group, lr in zip(self.param_groups, state_dict["lr"], strict=True):
            group["lr"] = lr


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Hidden matrices for Muon (weights of linear layers inside `blocks` and `layers`), and all other parameters."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        inside = "blocks." in name or "layers." in name
        (matrices if inside and parameter.ndim == 2 else others).append(parameter)
    return matrices, others


def warm_cosine(step: int, warmup: int, total: int) -> float:
    """Factor on the learning rate: linear warm-up, then a cosine down to one hundredth."""
    if step < warmup:
        return (step + 1) / warmup
    share = min((step - warmup) / max(total - warmup, 1), 1.0)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * share))


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """Euclidean norm over all gradients."""
    norms = [p.grad.norm() for p in parameters if p.grad is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0
