"""A partition of a trunk's blocks into windows of neighbours; each window becomes one block."""

from __future__ import annotations

from collections.abc import Iterable

from shared_tmu.errors import LayersError

Window = tuple[int, int]
"""First and last block, both included."""

Partition = tuple[Window, ...]
"""Windows from the first block to the last, without a gap: `((0, 0), (1, 2), (3, 3))` for four blocks."""


def singles(depth: int) -> Partition:
    """The partition that merges nothing."""
    return tuple((block, block) for block in range(depth))


def fill_with_singles(windows: Iterable[Window], depth: int) -> Partition:
    """The partition with these windows, and every other block alone."""
    starts = dict(windows)
    out: list[Window] = []
    block = 0
    while block < depth:
        out.append((block, starts.get(block, block)))
        block = out[-1][1] + 1
    return tuple(out)


def check_partition(partition: Partition, depth: int) -> None:
    """Refuse an invalid partition of `depth` blocks.

    Raises:
        LayersError: there is a gap, an overlap, an empty window, or another number of blocks.
    """
    ends = [-1, *(last for _, last in partition)]
    fits = all(first == end + 1 <= last for (first, last), end in zip(partition, ends, strict=False))
    if not fits or ends[-1] != depth - 1:
        raise LayersError(
            f"{describe_partition(partition)} is not a partition of blocks 0 to {depth - 1}: use windows "
            "(first, last) that follow each other without a gap."
        )


def describe_partition(partition: Partition) -> str:
    """The windows of two blocks or more as a text: `"1-2, 5-7"`, or `"nothing merged"`."""
    windows = [f"{first}-{last}" for first, last in partition if first != last]
    return ", ".join(windows) or "nothing merged"
