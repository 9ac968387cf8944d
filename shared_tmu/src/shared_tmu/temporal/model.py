"""The whole decoder: conditions of a window to joints and twists, by one step of the denoiser."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_tmu.temporal.config import TemporalConfig
from shared_tmu.temporal.denoiser import LatentDenoiser
from shared_tmu.temporal.noise import NoiseSchedule
from shared_tmu.temporal.vae import MotionVAE
from shared_tmu.temporal.windows import blur


class Standard(nn.Module):
    """Mean and deviation of values, from training data; they belong to the weights."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        """Standardise `[..., width]`."""
        return (values - self.mean) / self.scale

    def inverse(self, values: Tensor) -> Tensor:
        """Values again."""
        return values * self.scale + self.mean

    @torch.no_grad()
    def set(self, mean: Tensor, scale: Tensor) -> None:
        """Take these numbers."""
        self.mean.copy_(mean)
        self.scale.copy_(scale)


class MotionDecoder(nn.Module):
    """VAE, denoiser, and the numbers that standardise what they read.

    Args:
        config: sizes.
    """

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        self.config = config
        self.vae = MotionVAE(config)
        self.denoiser = LatentDenoiser(config)
        self.noise = NoiseSchedule(config.steps)
        self.motion = Standard(config.tree.width)
        self.condition = Standard(config.condition)
        self.latent = Standard(1)

    def latents_of(self, motion: Tensor) -> Tensor:
        """Scaled latents `[B, L, D]` of motion `[B, T, F]`, without chance."""
        scaled: Tensor = self.latent(self.vae.encode(self.motion(motion))[0])
        return scaled

    def motion_of(self, latents: Tensor) -> Tensor:
        """Motion `[B, T, F]` of scaled latents."""
        motion: Tensor = self.motion.inverse(self.vae.decode(self.latent.inverse(latents)))
        return motion

    def velocity(
        self, noisy: Tensor, time: Tensor, condition: Tensor, anchor: Tensor | None = None
    ) -> Tensor:
        """The predicted velocity of noisy latents.

        Args:
            noisy: `[B, L, D]`.
            time: `[B]`.
            condition: `[B, T, C]`, as models give it.
            anchor: `anchor_of(condition)`, if it is known already.
        """
        predicted: Tensor = self.denoiser(noisy, time, self.condition(condition))
        if not self.config.anchor:
            return predicted
        _, share = self.noise.shares(time, noisy)
        return predicted - share * (self.anchor_of(condition) if anchor is None else anchor)

    @torch.no_grad()
    def anchor_of(self, condition: Tensor) -> Tensor:
        """Scaled latents of the motion that ends the condition: a first guess, without a gradient."""
        return self.latents_of(blur(condition[..., -self.config.tree.width :], self.config.anchor_blur))

    @torch.no_grad()
    def sample(self, condition: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Motion `[B, T, F]` in one step: at the last time no signal is left of the latents, so they are
        minus the velocity.

        Args:
            condition: `[B, T, C]`.
            generator: draws the noise, the same for all windows, so that overlapping ones agree; None draws
                that of seed 0. With several `draws`, latents are averaged over them.
        """
        chance = torch.Generator().manual_seed(0) if generator is None else generator
        time = torch.full((len(condition),), self.noise.last, device=condition.device)
        anchor = self.anchor_of(condition) if self.config.anchor else None
        found = []
        for _ in range(self.config.draws):
            noise = torch.randn(1, self.config.latents, self.config.dim, generator=chance).to(condition)
            noise = noise.expand(len(condition), -1, -1)
            found.append(-self.velocity(noise, time, condition, anchor))
        return self.motion_of(torch.stack(found).mean(0))
