"""The noise of the diffusion: scaled-linear steps, rescaled so that the last one leaves no signal.

Source: the schedule is that of latent diffusion; the rescaling is Lin et al. 2024, "Common Diffusion Noise
Schedules and Sample Steps are Flawed", arXiv:2305.08891; velocities are Salimans and Ho 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 1000
BETA_FIRST, BETA_LAST = 0.00085, 0.012


def scaled_linear(steps: int = STEPS) -> Tensor:
    """Share of noise that each step adds, `[steps]`, double precision."""
    roots = torch.linspace(BETA_FIRST**0.5, BETA_LAST**0.5, steps, dtype=torch.float64)
    return roots.square()


def signal_shares(steps: int = STEPS) -> Tensor:
    """The square root of alpha-bar after each step, `[steps]`, double precision; the last is exactly 0."""
    s = (1.0 - scaled_linear(steps)).cumprod(0).sqrt()
    return (s - s[-1]) * s[0] / (s[0] - s[-1])


class NoiseSchedule(nn.Module):
    """Mixes latents `[B, L, D]` with noise at times `[B]`, 0 to `steps - 1`, and takes them apart."""

    signal: Tensor

    def __init__(self, steps: int = STEPS) -> None:
        super().__init__()
        self.register_buffer("signal", signal_shares(steps), persistent=False)

    @property
    def last(self) -> int:
        """The time at which no signal is left."""
        return len(self.signal) - 1

    def shares(self, time: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of signal and noise, to be multiplied with tensors of the rank of `like`."""
        signal = self.signal[time].view(-1, *(1,) * (like.ndim - 1))
        return signal.to(like.dtype), (1.0 - signal.square()).sqrt().to(like.dtype)

    def mix(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Noisy latents."""
        signal, share = self.shares(time, latents)
        return signal * latents + share * noise

    def velocity(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What the denoiser predicts."""
        signal, share = self.shares(time, latents)
        return signal * noise - share * latents

    def latents_of(self, noisy: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
        """Latents without noise, from noisy ones and a velocity."""
        signal, share = self.shares(time, noisy)
        return signal * noisy - share * velocity

    def noise_of(self, noisy: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
        """The noise in them."""
        signal, share = self.shares(time, noisy)
        return share * noisy + signal * velocity

    def loss(self, predicted: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
        """Squared error of the velocity plus that of the noise, which is (1 + alpha-bar) times the first:
        `[B]`, means over latents."""
        signal = self.signal[time].to(predicted.dtype)
        return (1.0 + signal.square()) * (predicted - velocity).square().flatten(1).mean(1)
