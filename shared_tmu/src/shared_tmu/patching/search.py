"""Finding the blocks of a ViT inside a model, and the module that owns them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..blocks.halves import find_misfit
from ..blocks.probing import leaving_no_trace, random_tokens
from ..blocks.trial import guess_channels, verify_block
from ..errors import PatchError
from .container import Container


@dataclass(frozen=True)
class FoundTrunk:
    """The blocks of one ViT.

    Attributes:
        owner: the ViT.
        name: name of the attribute with the blocks.
        places: owner and name of every container: one, or one per chunk.
        containers: those containers.
    """

    owner: nn.Module
    name: str
    places: tuple[tuple[nn.Module, str], ...]
    containers: tuple[Container, ...]

    @property
    def blocks(self) -> list[nn.Module]:
        """All blocks in order."""
        return [b for c in self.containers for b in c._modules.values() if not _is_filler(b)]

    @property
    def numbers(self) -> list[list[int | None]]:
        """For every container, the block numbers of its entries; None for placeholders."""
        count = iter(range(len(self.blocks)))
        return [
            [None if _is_filler(b) else next(count) for b in c._modules.values()] for c in self.containers
        ]

    def guess_channels(self) -> list[int]:
        """Likely number of channels of a token."""
        return guess_channels(self.blocks[0])


def find_trunk(model: nn.Module) -> FoundTrunk:
    """The only ViT in a model; if there are several, the one that is the model's own attribute `blocks`.

    Raises:
        PatchError: there is none, or there are several and the choice is not clear.
    """
    found, others = _search(model)
    if len(found) > 1 and "blocks" in found:
        return found["blocks"]
    if len(found) > 1:
        raise PatchError(f"{type(model).__name__} contains several ViTs: {_say_which(found)}")
    if not found:
        raise PatchError(
            f"{type(model).__name__} has no ModuleList or Sequential of ViT blocks (norm1, attn.qkv, "
            f"attn.proj, attn.num_heads, norm2, mlp). Found: {'; '.join(others) or 'nothing similar'}."
        )
    (trunk,) = found.values()
    return trunk


def _say_which(found: dict[str, FoundTrunk]) -> str:
    """The hint for the message which modules can be passed instead; a module that owns several trunks
    cannot.
    """
    owners: dict[int, list[str]] = {}
    for where, trunk in found.items():
        owners.setdefault(id(trunk.owner), []).append(where)
    single = [
        where
        for where, trunk in found.items()
        if where.rpartition(".")[0]
        and (trunk.name == "blocks" or len(_search(trunk.owner)[0]) == 1)
        and _runs_on_tokens(trunk.blocks[0])
    ]
    if single:
        return f"pass the owner of one of {', '.join(single)}."
    return (
        f"{', '.join(found)} are parallel branches or stages of one module, but merging needs tokens that "
        "pass through one list of blocks from the first to the last: this model cannot be patched as it is."
    )


def _runs_on_tokens(block: nn.Module) -> bool:
    """Whether a block can be tested on tokens `[B, N, C]`: not if it divides them into its own windows."""
    try:
        verify_block(block)
    except PatchError:
        return False
    return True


def _search(model: nn.Module) -> tuple[dict[str, FoundTrunk], list[str]]:
    """Trunks by their place, and modules that look like one, with the reason why they are not."""
    found: dict[str, FoundTrunk] = {}
    others: list[str] = []
    inside: set[int] = set()
    for where, owner, name, child in _containers(model):
        if id(child) in inside:
            continue
        chunks = _find_chunks(child)
        if chunks:
            inside |= {id(chunk) for chunk in chunks}
            places = tuple((child, key) for key in child._modules)
            found[where] = FoundTrunk(owner, name, places, tuple(chunks))
            continue
        misfit = _find_container_misfit(child)
        if misfit is None:
            found[where] = FoundTrunk(owner, name, ((owner, name),), (child,))
        elif all(_has_attention(block) for block in child._modules.values()):
            kind = type(next(iter(child._modules.values()))).__name__
            others.append(f"{where} ({len(child)} x {kind}): {misfit}")
    return found, others


def _has_attention(block: nn.Module | None) -> bool:
    return block is not None and any("att" in name.lower() for name in block._modules)


def _containers(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, Container]]:
    for path, owner in model.named_modules():
        for name, child in owner._modules.items():
            if isinstance(child, nn.ModuleList | nn.Sequential) and len(child):
                yield (f"{path}.{name}" if path else name), owner, name, child


def _is_filler(block: nn.Module | None) -> bool:
    return type(block) is nn.Identity


def _find_chunks(container: Container) -> list[Container]:
    """The containers of a trunk that is divided into chunks, called one after the other, as in DINOv2; else
    none."""
    chunks = list(container._modules.values())
    if any(type(chunk) in (nn.ModuleList, nn.Sequential) for chunk in chunks):
        return []  # it is not known whether they are called one after the other
    if not all(isinstance(c, nn.ModuleList) and len(c) and not _find_container_misfit(c) for c in chunks):
        return []
    return chunks  # type: ignore[return-value]


def _find_container_misfit(container: Container) -> str | None:
    """Why this container cannot be replaced, or None."""
    blocks = {number: b for number, b in enumerate(container._modules.values()) if not _is_filler(b)}
    for number, block in blocks.items():
        if block is None or (misfit := find_misfit(block)):
            return "it has an empty entry" if block is None else f"block {number}: {misfit}"
    if not blocks:
        return "it has no blocks"
    base = nn.Sequential if isinstance(container, nn.Sequential) else nn.ModuleList
    changed = [m for m in ("__iter__", "__getitem__") if getattr(type(container), m) != getattr(base, m)]
    has_forward = type(container).forward != base.forward or "forward" in vars(container)
    if has_forward and not _runs_blocks_in_order(container, list(blocks.values())):
        changed.insert(0, "forward")
    if changed:
        return f"{type(container).__name__} has its own {', '.join(changed)}, which merging would ignore"
    return None


def _runs_blocks_in_order(container: Container, blocks: list[nn.Module]) -> bool:
    """Whether calling the container is calling its blocks one after the other."""
    own = next(iter([*container.parameters(), *container.buffers()]), torch.empty(0))
    for channels in guess_channels(blocks[0]):
        with leaving_no_trace(container):
            x = random_tokens(2, 4, channels, own)
            try:
                got: Any = container.forward(x)  # type: ignore[no-untyped-call]
                for block in blocks:
                    x = block.forward(x)
            except Exception:  # the model's own code may raise any error for unexpected input
                continue
            return isinstance(got, Tensor) and torch.equal(got, x)
    return False
