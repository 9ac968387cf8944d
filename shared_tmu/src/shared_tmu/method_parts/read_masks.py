"""Masks that are read inside a trunk, from the tokens that enter one of its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from ..blocks.parts import Block
from ..errors import PatchError
from .protection import weigh


class ReadMask(nn.Module):
    """A mask of tokens to protect that needs no detector: it is computed from the ViT's own tokens.

    It is read once per forward pass, from the tokens that enter a block. Earlier blocks merge without a mask,
    and the mask is then read from the slots that they leave. Given to `patch`, it moves with the model, and
    is not part of the model's state dict.

    Args:
        block: number of that block, from 0; 0 is right after the patch embedding, so that nothing merges
            without the mask.
    """

    def __init__(self, block: int = 0) -> None:
        super().__init__()
        self.block = block

    def forward(
        self, x: Tensor, block: Block, before: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """The mask of the patch tokens: `[B, M, C]` to `[B, M]` bool, or float, see `protection`.

        Args:
            x: tokens that enter `block`, without the prefix.
            block: the block.
            before: the mask until then, `[B, M]`; None for none.
            live: which tokens are not padding, `[B, M]` bool; not given where all are. What the mask says of
                the others must not depend on padding, nor on how much there is.
        """
        raise NotImplementedError

    def read(self, x: Tensor, block: Block, before: Tensor | None, live: Tensor | None) -> Tensor:
        """`forward`, with `live` only where some tokens are padding."""
        shown: Tensor = self(x, block, before) if live is None else self(x, block, before, live)
        return shown

    def begin(self) -> Tensor | None:
        """The mask of the patch tokens before the block is reached, `[B, P]`; None for none."""
        return None

    def placed(self, blocks: Sequence[nn.Module]) -> Self:
        """The same mask, on the device of the ViT's blocks.

        Raises:
            PatchError: it does not fit these blocks.
        """
        self.require_block(len(blocks))
        return self.to(next(blocks[0].parameters()).device)

    def require_block(self, depth: int) -> None:
        """See that it is read in a trunk of so many blocks.

        Raises:
            PatchError: it never is.
        """
        if not 0 <= self.block < depth:
            raise PatchError(
                f"this mask is read at block {self.block}, but the ViT has {depth} blocks: use 0 to "
                f"{depth - 1}."
            )


class GivenOrRead(ReadMask):
    """Masks that are given for some images of a batch, and read for the others.

    Args:
        given: `[B, P]` of the patch tokens, bool or 0 to 1; for images with only zeros the mask is read.
        other: reads the masks of those images.
    """

    def __init__(self, given: Tensor, other: ReadMask) -> None:
        super().__init__(other.block)
        self.given, self.other = given, other
        self.is_known = (given != 0).any(dim=1, keepdim=True)

    def begin(self) -> Tensor | None:
        """See `ReadMask`, also for the others."""
        return self.given

    def forward(
        self, x: Tensor, block: Block, before: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """Those given where they are known."""
        read = self.other.read(x, block, None, live)
        return read if before is None else before.to(read.dtype).where(self.is_known, read)


class Weighed(ReadMask):
    """Another mask, of 0 to 1, by one of the rules of `protection`.

    Args:
        mask: what it says of tokens.
        weight: see `weigh`.
    """

    def __init__(self, mask: ReadMask, weight: float | None) -> None:
        super().__init__(mask.block)
        self.mask, self.weight = mask, weight

    def begin(self) -> Tensor | None:
        """See `ReadMask`, also for the others."""
        shares = self.mask.begin()
        return None if shares is None else weigh(shares, self.weight)

    def forward(
        self, x: Tensor, block: Block, before: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """The mask, weighed."""
        if before is not None and self.weight:  # by a weight of 0 nothing is left that could be divided
            before = before / self.weight
        return weigh(self.mask.read(x, block, before, live), self.weight)
