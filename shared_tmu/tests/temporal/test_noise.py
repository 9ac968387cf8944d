"""The noise schedule: the published numbers, no signal at the end, and the identities of velocities."""

import pytest
import torch

from shared_tmu.temporal.noise import NoiseSchedule, scaled_linear, signal_shares

PUBLISHED = {
    0: (0.00085, 0.99957491, 0.99957491),
    1: (0.00085470, 0.99914765, 0.99911633),
    249: (0.00241984, 0.82184695, 0.80881951),
    499: (0.00480379, 0.52694369, 0.49229987),
    749: (0.00799718, 0.23795691, 0.18213040),
    998: (0.01198238, 0.06867823, 0.00044361),
    999: (0.012, 0.06826491, 0.0),
}


@pytest.mark.parametrize("time", PUBLISHED)
def test_schedule(time):
    beta, before, after = PUBLISHED[time]
    betas = scaled_linear()
    assert betas[time] == pytest.approx(beta, abs=1e-8)
    assert (1 - betas).cumprod(0).sqrt()[time] == pytest.approx(before, abs=1e-8)
    assert signal_shares()[time] == pytest.approx(after, abs=1e-8)


def test_no_signal_is_left_at_the_end():
    shares = signal_shares()
    assert shares[-1] == 0
    assert torch.isfinite(shares).all()
    assert (shares.diff() < 0).all()


def test_identities_at_every_time():
    noise = NoiseSchedule()
    generator = torch.Generator().manual_seed(0)
    latents, drawn = torch.randn(2, 1000, 3, 4, generator=generator, dtype=torch.float64)
    time = torch.arange(1000)
    noisy, velocity = noise.mix(latents, drawn, time), noise.velocity(latents, drawn, time)
    torch.testing.assert_close(noise.latents_of(noisy, velocity, time), latents, atol=1e-10, rtol=0)
    torch.testing.assert_close(noise.noise_of(noisy, velocity, time), drawn, atol=1e-10, rtol=0)
    torch.testing.assert_close(velocity[-1], -latents[-1])
    torch.testing.assert_close(noisy[-1], drawn[-1])


def test_the_loss_is_that_of_velocity_and_noise():
    noise = NoiseSchedule()
    generator = torch.Generator().manual_seed(1)
    latents, drawn, predicted = torch.randn(3, 1000, 3, 4, generator=generator, dtype=torch.float64)
    time = torch.arange(1000)
    noisy, velocity = noise.mix(latents, drawn, time), noise.velocity(latents, drawn, time)
    both = (predicted - velocity).square() + (noise.noise_of(noisy, predicted, time) - drawn).square()
    torch.testing.assert_close(
        noise.loss(predicted, velocity, time), both.flatten(1).mean(1), atol=1e-10, rtol=0
    )
