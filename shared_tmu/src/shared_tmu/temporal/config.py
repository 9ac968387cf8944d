"""Sizes of the temporal decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Self

from shared_tmu.errors import ConfigError
from shared_tmu.temporal.skeletons import BODY, HAND, MotionTree

FPS = 30.0
"""Frames per second of the motion that decoders are trained on."""

SKELETONS: Mapping[str, MotionTree] = MappingProxyType({"hand": HAND, "body": BODY})


@dataclass(frozen=True)
class TemporalConfig:
    """Sizes; the defaults are the paper's, for a body.

    Attributes:
        skeleton: `hand` or `body`.
        frames: T of a window.
        latents: L.
        dim: D, width of latents and of all layers.
        hidden: width of the MLPs.
        heads: of attention.
        vae_layers: of the VAE's encoder and of its decoder; the table of sizes fits 5, another one prints 9.
        denoiser_layers: of the denoiser.
        vae_dropout, denoiser_dropout: shares of values that are dropped in training.
        condition: C, values per frame that the denoiser reads.
        steps: of the noise.
        low_pass: ours: a linear path around the VAE's transformers, in which the latents are the knots of a
            smooth curve through the motion (a cubic spline), so that a short training is enough.
        anchor: ours: a frame's condition ends with the motion that the model's own head sees, F values, and
            the denoiser predicts what differs from it.
        anchor_blur: ours: deviation in frames of a Gaussian that smooths this motion first, so that the
            denoiser starts from a filter without delay and learns what differs from that; 0 for none.
        draws: ours: how many draws of the noise are averaged. The paper takes one; after a short training the
            denoiser still follows the noise a little, although it says nothing at the last time.
    """

    skeleton: str = "body"
    frames: int = 243
    latents: int = 27
    dim: int = 512
    hidden: int = 1024
    heads: int = 4
    vae_layers: int = 9
    denoiser_layers: int = 5
    vae_dropout: float = 0.1
    denoiser_dropout: float = 0.001
    condition: int = 1024
    steps: int = 1000
    low_pass: bool = False
    anchor: bool = False
    anchor_blur: float = 0.0
    draws: int = 1

    def __post_init__(self) -> None:
        if self.skeleton not in SKELETONS:
            raise ConfigError(f"skeleton={self.skeleton!r} does not exist: use {' or '.join(SKELETONS)}.")
        for name in ("frames", "latents", "dim", "hidden", "heads", "condition", "steps", "draws"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**20:
                raise ConfigError(f"{name}={value!r} was asked for; it must be a whole number of at least 1.")
        for name in ("low_pass", "anchor"):
            if not isinstance(value := getattr(self, name), bool):
                raise ConfigError(f"{name}={value!r} was asked for; it must be true or false.")
        if self.low_pass and not (4 <= self.latents <= self.frames and self.tree.width <= self.dim):
            raise ConfigError(
                f"low_pass keeps {self.tree.width} values in {self.latents} latents of width {self.dim}, for "
                f"{self.frames} frames: dim must be at least {self.tree.width}, and latents from 4 to frames."
            )
        is_number = isinstance(self.anchor_blur, int | float) and not isinstance(self.anchor_blur, bool)
        if (
            not is_number
            or not 0 <= self.anchor_blur <= self.frames
            or (self.anchor_blur and not self.anchor)
        ):
            raise ConfigError(
                f"anchor_blur={self.anchor_blur!r} was asked for; it must be a number of frames from 0 to "
                f"{self.frames}, and needs anchor=true."
            )
        if self.anchor and self.condition < self.tree.width:
            raise ConfigError(
                f"anchor needs a condition of at least {self.tree.width} values, found {self.condition}."
            )

    @property
    def tree(self) -> MotionTree:
        """The skeleton itself."""
        return SKELETONS[self.skeleton]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From plain values.

        Raises:
            ConfigError: a name does not exist, or a value has another type or is out of range.
        """
        known = {field.name for field in fields(cls)}
        if unknown := set(values) - known:
            raise ConfigError(f"{min(unknown)} is no size of a temporal decoder; there are {sorted(known)}.")
        return cls(**values)


PAPER = TemporalConfig()
PRESETS: Mapping[str, TemporalConfig] = MappingProxyType(
    {
        "paper": PAPER,
        "table12": replace(PAPER, vae_layers=5),
        "thin": replace(
            PAPER,
            skeleton="hand",
            frames=81,
            dim=128,
            hidden=256,
            vae_layers=3,
            denoiser_layers=3,
            condition=128 + HAND.width,
            low_pass=True,
            anchor=True,
            anchor_blur=4.0,
            draws=8,
        ),
    }
)
"""`paper` as its tables print it; `table12` with the depth that fits its number of parameters; `thin` for
HaMeR-Thin: 81 frames, 27 latents of 128, which compresses as the paper does (2.18 : 1)."""
