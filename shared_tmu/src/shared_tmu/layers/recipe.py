"""How a trunk was shortened, as it is kept with the shorter model: which blocks became one, and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared_tmu.errors import LayersError

from .operators import VARIANTS
from .partition import Partition, check_partition, describe_partition


@dataclass(frozen=True)
class LayerRecipe:
    """A partition of the blocks of one particular trunk, and the operator that merges each window.

    Attributes:
        partition: partition of all blocks.
        variant: row of `VARIANTS`.
        original: digest of the trunk's weights before; another trunk's blocks are merged by another recipe.
    """

    partition: Partition
    variant: str
    original: str

    @property
    def depth(self) -> int:
        """Blocks that are left."""
        return len(self.partition)

    @property
    def name(self) -> str:
        """Short and of this recipe only, for tables and file names: `28-layers-3fa2`."""
        content = json.dumps(self.to_dict(), sort_keys=True).encode()
        return f"{self.depth}-layers-{hashlib.sha256(content).hexdigest()[:4]}"

    def __str__(self) -> str:
        return f"{self.depth} layers ({describe_partition(self.partition)}; {self.variant})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads back."""
        partition = [list(window) for window in self.partition]
        return {"partition": partition, "variant": self.variant, "original": self.original}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str) -> LayerRecipe:
        """Read what `to_dict` gave, and nothing else.

        Raises:
            LayersError: it is no recipe; the message names `source`.
        """
        try:
            windows, variant, original = (content[key] for key in ("partition", "variant", "original"))
            partition = tuple((_number(first), _number(last)) for first, last in windows)
        except (KeyError, TypeError, ValueError) as error:
            raise LayersError(
                f"{source} has a recipe of merged layers that cannot be read ({error!r})."
            ) from error
        are_texts = isinstance(variant, str) and isinstance(original, str)
        if not are_texts or variant not in VARIANTS or not partition:
            raise LayersError(
                f"{source} has a recipe of merged layers of variant {variant!r}, with {len(partition)} "
                f"windows: known variants are {', '.join(VARIANTS)}."
            )
        check_partition(partition, partition[-1][1] + 1)
        return cls(partition, variant, original)

    def require_original(self, found: str, depth: int, source: str) -> None:
        """Refuse a trunk that this recipe is not of.

        Args:
            found: digest of the trunk's weights.
            depth: its blocks.
            source: where the recipe is from.

        Raises:
            LayersError: it is another one.
        """
        if found != self.original:
            raise LayersError(
                f"{source} tells how the blocks of other weights were merged ({self.original[:12]}, these "
                f"are {found[:12]}): use the checkpoint from which it was made."
            )
        check_partition(self.partition, depth)


def read_recipe(metadata: Mapping[str, str], source: str) -> LayerRecipe | None:
    """The recipe in a file's metadata; None in that of a model whose layers were not merged.

    Raises:
        LayersError: there is one that cannot be read.
    """
    if METADATA not in metadata:
        return None
    try:
        content = json.loads(metadata[METADATA])
    except (ValueError, RecursionError) as error:
        raise LayersError(f"{source} has a recipe of merged layers that is not JSON.") from error
    return LayerRecipe.from_dict(content if isinstance(content, dict) else {}, source)


METADATA = "layers"
"""The entry of a safetensors file's metadata that holds a recipe."""


def _number(value: object) -> int:
    """The number of a block; nothing that would only become one by rounding or reading."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is no number of a block")
    return value
