"""Toy motion whose frames are seen with noise, and decoders trained on it."""

import torch

from shared_tmu.temporal.config import TemporalConfig
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.skeletons import HAND
from shared_tmu.training.motion.denoiser_stage import DenoiserTraining
from shared_tmu.training.motion.recipe import MotionStage
from shared_tmu.training.motion.vae_stage import VaeTraining
from shared_tmu.training.optim import warm_cosine

FRAMES, FEATURES, STEPS = 24, 10, 450


def sizes(condition=FEATURES):
    """A decoder that reads so many numbers of each frame."""
    return TemporalConfig(
        "hand", FRAMES, 8, 96, 96, 4, 1, 1, 0.0, 0.0, condition=condition, low_pass=True
    )  # fmt: skip


class ToyMotion:
    """Slow motion in few directions, and features that see each frame with noise of its own."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.directions = torch.randn(4, HAND.width, generator=generator)
        self.mixing = torch.randn(4, FEATURES, generator=generator)

    def draw(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        rates, phases = torch.rand(2, count, 1, 4, generator=generator)
        times = torch.arange(FRAMES)[None, :, None] / FRAMES
        state = torch.sin(2 * torch.pi * (times * (0.3 + rates) + phases))  # [B, T, 4]
        motion = state @ self.directions
        features = state @ self.mixing
        return motion, features + 1.5 * torch.randn(features.shape, generator=generator)


def train(module, parameters, batches, steps, lr=2e-3):
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * warm_cosine(step, 10, steps)
        optimizer.zero_grad()
        module.training_step(batches(step), step).backward()
        optimizer.step()


def trained_vae(draw, condition=FEATURES):
    """A decoder whose first stage is trained.

    Args:
        draw: a function from a count and a seed to motion `[B, T, F]` and what is seen of it, `[B, T, C]`.
        condition: C.
    """
    torch.manual_seed(0)
    decoder = MotionDecoder(sizes(condition))
    stage = VaeTraining(decoder, MotionStage(steps=30), weight=1e-5)
    stage.log_dict = lambda *_: None
    train(stage, decoder.vae.parameters(), lambda step: draw(16, 100 + step)[0], 30)
    decoder.eval().zero_grad(set_to_none=True)
    latents = decoder.latents_of(draw(64, 1)[0])
    decoder.latent.set(torch.zeros(1), latents.square().mean().sqrt()[None])
    return decoder


def trained_denoiser(decoder, draw, steps=STEPS):
    """The same with the second stage."""
    stage = DenoiserTraining(decoder, MotionStage(steps=steps), last_share=0.95)
    stage.log_dict = lambda *_: None
    train(stage, decoder.denoiser.parameters(), lambda step: draw(16, 5000 + step)[::-1], steps)
    return decoder.eval()


def ridge(seen, motion, weight=1.0):
    """A linear head that reads single frames: a function from what is seen to motion."""
    x = torch.cat((seen.flatten(0, 1), torch.ones(seen.shape[0] * FRAMES, 1)), dim=1)
    weights = torch.linalg.solve(x.T @ x + weight * torch.eye(x.shape[1]), x.T @ motion.flatten(0, 1))
    return lambda new: torch.cat((new, torch.ones(*new.shape[:2], 1)), dim=-1) @ weights


def errors(found, truth):
    """Mean distance of points, and of their accelerations."""
    points = [x[..., : 3 * HAND.num_points].unflatten(-1, (-1, 3)) for x in (found, truth)]
    fast = [x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2] for x in points]
    return tuple(float((a - b).norm(dim=-1).mean().detach()) for a, b in (points, fast))
