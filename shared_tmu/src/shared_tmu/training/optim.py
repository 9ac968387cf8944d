"""One optimiser that combines two: Muon for the matrices inside blocks, AdamW for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from shared_tmu.training.muon import StackedMuon


class MuonAdamW(torch.optim.Optimizer):
    """Muon (orthogonalised momentum) on hidden matrices and AdamW on the rest, stepped together.

    Both use learning rates on AdamW's scale, so one schedule controls both; the steps of matrices are
    `matrix_factor` times larger, and those of embeddings, whose entries are small, `embedding_factor` times.

    Args:
        matrices: hidden matrices, for Muon.
        embeddings: patch and position embeddings, for AdamW.
        others: the rest, for AdamW.
        lr: learning rate on AdamW's scale.
        weight_decay: weight decay of the matrices only.
        matrix_factor: factor on the learning rate of the matrices.
        embedding_factor: factor on the learning rate of the embeddings.

    Source: Jordan et al. 2024 (Muon); Liu et al. 2025, arXiv:2502.16982 (learning-rate matching).
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        embeddings: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float,
        matrix_factor: float = 1.0,
        embedding_factor: float = 1.0,
    ) -> None:
        groups = [list(matrices), list(embeddings), list(others)]
        factors = (matrix_factor, embedding_factor, 1.0)
        super().__init__(
            [{"params": g, "lr": lr * f} for g, f in zip(groups, factors, strict=True) if g], {"lr": lr}
        )
        self.parts: list[torch.optim.Optimizer] = []
        if groups[0]:
            self.parts.append(StackedMuon(groups[0], lr, weight_decay))
        for group in groups[1:]:
            if group:
                self.parts.append(torch.optim.AdamW(group, lr, betas=(0.9, 0.98), weight_decay=0.0))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step all with the learning rate that the scheduler set on this optimiser."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, part in zip(self.param_groups, self.parts, strict=True):
            part.param_groups[0]["lr"] = group["lr"]
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state of both optimisers."""
        rates = [group["lr"] for group in self.param_groups]
        return {"parts": [part.state_dict() for part in self.parts], "lr": rates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the result of `state_dict`."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        for group, lr in zip(self.param_groups, state_dict["lr"], strict=True):
            group["lr"] = lr


def split_parameters(
    model: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Matrices of linear layers inside `blocks` and `layers`; patch and position embeddings; all others."""
    matrices: list[nn.Parameter] = []
    embeddings: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if ("blocks." in name or "layers." in name) and parameter.ndim == 2:
            matrices.append(parameter)
        elif "patch_embed." in name or "pos_embed" in name:
            embeddings.append(parameter)
        else:
            others.append(parameter)
    return matrices, embeddings, others


def warm_cosine(step: int, warmup: int, total: int, anneal: float = 1.0, passed: float = 0.0) -> float:
    """Factor on the learning rate: linear warm-up, then 1, and at the end a cosine down to 0.01.

    Args:
        step: optimiser steps done.
        warmup: number of warm-up steps.
        total: number of all steps.
        anneal: share of the steps after the warm-up over which the cosine falls; with 0 the factor stays 1.
        passed: share of the time that is over; if it is larger than that of the steps, the cosine follows it.
    """
    warm = (step + 1) / warmup if step < warmup else 1.0
    share = min(max((step - warmup) / max(total - warmup, 1), passed), 1.0)
    fallen = (share - (1.0 - anneal)) / anneal if anneal > 0 and share > 1.0 - anneal else 0.0
    return min(warm, 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fallen)))
