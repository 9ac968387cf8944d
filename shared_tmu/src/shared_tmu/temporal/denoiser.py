"""The denoiser: noisy latents and the conditions of all frames to a velocity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_tmu.temporal.config import TemporalConfig
from shared_tmu.temporal.layers import SkipTransformer, places, spread, time_embedding


class LatentDenoiser(nn.Module):
    """A transformer over one token of time, L noisy latents and T frames; it is read at the latents."""

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.read = nn.Linear(config.condition, dim)
        self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        of_frames, of_latents = places(spread(config.frames), dim), places(spread(config.latents), dim)
        self.places = nn.Parameter(torch.cat((torch.zeros(1, dim), of_latents, of_frames)))
        self.transformer = SkipTransformer(
            dim, config.heads, config.hidden, config.denoiser_layers, config.denoiser_dropout
        )
        self.change = nn.Linear(dim, dim) if config.low_pass or config.anchor else None
        if self.change is not None:  # such latents have any length, which the last norm does not give
            nn.init.zeros_(self.change.weight)
            nn.init.zeros_(self.change.bias)

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Predict.

        Args:
            noisy: `[B, L, D]`.
            time: `[B]`.
            condition: `[B, T, C]`, standardised.

        Returns:
            The velocity, `[B, L, D]`; with an anchor, what differs from the anchor's.
        """
        when = self.time(time_embedding(time, self.config.dim))[:, None]
        x = torch.cat((when, noisy, self.read(condition)), dim=1) + self.places
        found = self.transformer(x)[:, 1 : 1 + self.config.latents]
        return found if self.change is None else torch.as_tensor(self.change(found))
