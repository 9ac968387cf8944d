"""A trunk run block by block."""

from __future__ import annotations


def by_loop(blocks, x):
    out = []
    for block in blocks:
        x = block(x)
        out.append(x)
    return out
