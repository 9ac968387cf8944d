"""What `--mask` chooses: a source of masks, or the first of several that is known of a crop."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from shared_tmu.errors import InputError

from .limbs import Mask
from .scene import MaskScene
from .sources import ANYWHERE, MASKS, NO_MASK, MaskPlace, MaskSource


@dataclass(frozen=True)
class MaskChoice:
    """What `--mask` was given: the first of these sources that is known of a crop; no mask without any.

    Attributes:
        sources: in order; one that reads tokens is the last, since it is always known.
    """

    sources: tuple[MaskSource, ...] = ()

    def __str__(self) -> str:
        return "+".join(self.names) or NO_MASK

    def __bool__(self) -> bool:
        return bool(self.sources)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the sources."""
        return tuple(source.name for source in self.sources)

    @property
    def read(self) -> MaskSource | None:
        """The source that reads tokens, if there is one."""
        return next((source for source in self.sources if source.reads_tokens), None)

    @property
    def drawn(self) -> MaskChoice:
        """Without the source that reads tokens."""
        return MaskChoice(tuple(source for source in self.sources if not source.reads_tokens))

    @property
    def lacks(self) -> str:
        """What is missing where there is no mask, as messages say it."""
        return ", and ".join(source.lacks for source in self.sources)

    def draw(self, scene: MaskScene) -> tuple[Mask | None, str]:
        """The mask of a crop, and the name of its source; (None, `none`) if none of them shows anything."""
        for source in self.sources:
            mask = source.draw(scene)
            if mask is not None and mask.any():
                return mask, source.name
        return None, NO_MASK if self.read is None else self.read.name


def find_masks(text: str, place: MaskPlace = ANYWHERE, also: tuple[str, ...] = ()) -> MaskChoice:
    """The masks that a text such as `none`, `box` or `landmarks+probe` selects.

    Args:
        text: value of `--mask`.
        place: where masks are needed.
        also: further values that the caller accepts, for messages.

    Raises:
        InputError: no such row, one that cannot be had there, or one that would never be used.
    """
    if text == NO_MASK:
        return MaskChoice()
    sources = tuple(_find(name, place, also) for name in text.split("+"))
    for before, after in pairwise(sources):
        if before.reads_tokens:
            raise InputError(
                f"mask {text!r} names {before.name!r}, which every crop has, before {after.name!r}, which "
                "would never be used: put it last."
            )
    if len(set(sources)) < len(sources):
        raise InputError(f"mask {text!r} names a source twice: once is enough.")
    return MaskChoice(sources)


def _find(name: str, place: MaskPlace, also: tuple[str, ...]) -> MaskSource:
    known = ", ".join((*also, *mask_names(place)))
    found = MASKS.get(name)
    if found is None:
        joined = f"{name!r} goes with no other" if name in (NO_MASK, *also) else f"there is no mask {name!r}"
        raise InputError(f"{joined}: use one of {known}.")
    if reason := found.lacks_in(place):
        raise InputError(f"mask {name!r} {reason}: use one of {known}.")
    return found


def mask_names(place: MaskPlace = ANYWHERE) -> tuple[str, ...]:
    """All names that can be had there, `none` first."""
    return NO_MASK, *(row.name for row in MASKS.values() if row.lacks_in(place) is None)
