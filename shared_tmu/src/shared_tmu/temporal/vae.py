"""The VAE of motion: windows of T frames to L latents and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_tmu.temporal.config import TemporalConfig
from shared_tmu.temporal.layers import SkipTransformer, places, spline_basis, spread

_FIRST_LOG_VARIANCE = -6.0  # of the linear path, which starts without loss


class MotionVAE(nn.Module):
    """Encoder and decoder of standardised motion `[B, T, F]`.

    The encoder reads 2 L learned tokens and the embedded frames; the first L tokens become means, the others
    log-variances. The decoder has one query per frame, of position only, which attends to the latents.
    """

    splines: Tensor
    fit: Tensor

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        width, dim, count = config.tree.width, config.dim, config.latents
        sizes = (dim, config.heads, config.hidden, config.vae_layers, config.vae_dropout)
        self.config = config
        self.embed = nn.Linear(width, dim)
        self.tokens = nn.Parameter(0.02 * torch.randn(2 * count, dim))
        of_frames, of_latents = places(spread(config.frames), dim), places(spread(count), dim)
        self.encoder_places = nn.Parameter(torch.cat((of_latents, of_latents, of_frames)))
        self.encoder = SkipTransformer(*sizes)
        self.decoder_places = nn.Parameter(of_frames.clone())
        self.latent_places = nn.Parameter(of_latents.clone())
        self.decoder = SkipTransformer(*sizes, reads_memory=True)
        self.unembed = nn.Linear(dim, width)
        if config.low_pass:
            splines = spline_basis(config.frames, count)
            self.register_buffer("splines", splines.float(), persistent=False)
            self.register_buffer("fit", torch.linalg.pinv(splines).float(), persistent=False)
            self.squeeze = nn.Linear(width, dim, bias=False)
            self.expand = nn.Linear(dim, width, bias=False)
            self.to_mean = nn.Linear(dim, dim)
            self.to_log_variance = nn.Linear(dim, dim)
            self._start_linear()

    def _start_linear(self) -> None:
        """Begin as the linear path alone."""
        nn.init.orthogonal_(self.squeeze.weight)
        with torch.no_grad():
            self.expand.weight.copy_(self.squeeze.weight.T)
        for layer in (self.to_mean, self.to_log_variance, self.unembed):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.to_log_variance.bias, _FIRST_LOG_VARIANCE)

    def encode(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances of the latents, `[B, L, D]` each."""
        count = self.config.latents
        tokens = self.tokens.expand(len(motion), -1, -1)
        x = torch.cat((tokens, self.embed(motion)), dim=1) + self.encoder_places
        mean, log_variance = self.encoder(x)[:, : 2 * count].split(count, dim=1)
        if not self.config.low_pass:
            return mean, log_variance
        return self.to_mean(mean) + self.squeeze(self.fit @ motion), self.to_log_variance(log_variance)

    def decode(self, latents: Tensor) -> Tensor:
        """Standardised motion `[B, T, F]` from latents `[B, L, D]`."""
        queries = self.decoder_places.expand(len(latents), -1, -1)
        motion: Tensor = self.unembed(self.decoder(queries, latents + self.latent_places))
        return motion + self.splines @ self.expand(latents) if self.config.low_pass else motion

    def forward(self, motion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct through random latents: motion, means, log-variances."""
        mean, log_variance = self.encode(motion)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decode(latents), mean, log_variance


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the unit normal distribution, mean over all latent values."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
