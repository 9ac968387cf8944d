"""What of a model's inside a temporal decoder reads: one vector per frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class FrameFeature:
    """The place of a model's feature: the first tokens of a module's output, side by side.

    Attributes:
        module: dotted name of the module; its output is `[B, N, C]`.
        tokens: how many of its tokens are taken, from the first.
    """

    module: str
    tokens: int = 1

    @contextmanager
    def captured(self, model: nn.Module) -> Iterator[list[Tensor]]:
        """Keep the features of every pass of `model` until the `with` block ends.

        Yields:
            A list that grows by one tensor `[B, tokens * C]` per pass.
        """
        found: list[Tensor] = []

        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            found.append(output[:, : self.tokens].flatten(1).float())

        handle = model.get_submodule(self.module).register_forward_hook(keep)
        try:
            yield found
        finally:
            handle.remove()
