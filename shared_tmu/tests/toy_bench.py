"""A program to benchmark whose model reads tokens instead of pictures."""

from dataclasses import fields

import torch

from shared_tmu.programs.estimates import HAND, Estimate


class TokenEstimate(Estimate):
    """Its pictures are tokens already, `[B, 20, 32]`."""

    def crops(self, model, count):
        return {"x": torch.randn(count, 20, 32, generator=torch.Generator().manual_seed(0))}


TOKENS = TokenEstimate(
    **{field.name: getattr(HAND, field.name) for field in fields(HAND)}
    | {"name": "tokens", "vertices": lambda output: output["vertices"]}
)
