"""Supervises the attention of SMPLest-X's task tokens: each should attend to the patch of its joint, and to
the patch of the joint that it moves.

Without this, the tokens of all joints first learn to read the same average of the picture, and only much
later attend to their own joints; the key points give the target patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.body_models.smplx_model import KEYPOINTS, NUM_HAND_JOINTS, PARENTS
from shared_tmu.models.decoder import CrossAttention
from shared_tmu.training.dense import DenseHeads, rows_of

# index of the first finger joint's token, and of that joint; body joints come first
HAND_TOKEN, HAND_JOINT = 35, 25
NUM_BODY_TOKENS = 22
_ENDS = {7: 60, 8: 63, 10: 60, 11: 63}  # for ankles and feet the big toes, which are points on the skin


def _moved(joint: int) -> int | None:
    """A joint, or a point on the skin, that a joint moves and that is a key point."""
    if joint >= HAND_JOINT and (joint - HAND_JOINT) % 3 == 2:  # for fingers, the tip follows in the list
        return int(KEYPOINTS[KEYPOINTS.index(joint) + 1])
    children = [child for child, parent in enumerate(PARENTS) if parent == joint and child in KEYPOINTS]
    return _ENDS[joint] if joint in _ENDS else next(iter(children), None)


def _targets(keypoints: int) -> list[list[tuple[int, int]]]:
    """Pairs of task token and key point, among the first `keypoints`, for the first two attention heads."""
    tokens = {joint: joint for joint in range(NUM_BODY_TOKENS)}
    tokens |= {HAND_JOINT + i: HAND_TOKEN + i for i in range(2 * NUM_HAND_JOINTS)}
    own = [(token, joint) for joint, token in tokens.items()]
    moved = [(token, _moved(joint)) for joint, token in tokens.items()]
    known = KEYPOINTS[:keypoints]
    return [
        [(token, known.index(point)) for token, point in pairs if point in known] for pairs in (own, moved)
    ]


@contextmanager
def recorded(decoder: nn.Module) -> Iterator[list[tuple[CrossAttention, dict[str, Tensor]]]]:
    """Record queries, and keys with values, of each cross-attention of a decoder inside the `with` block.

    Yields:
        Every cross-attention in order, with its record: `q` `[B, Q, H * D]` and `kv` `[B, K, 2 * H * D]`.
    """
    readers = [module for module in decoder.modules() if isinstance(module, CrossAttention)]
    seen = [(module, dict[str, Tensor]()) for module in readers]
    hooks = []
    for module, kept in seen:
        for name, linear in (("q", module.to_q), ("kv", module.to_kv)):

            def keep(_: Any, __: Any, out: Tensor, kept: dict[str, Tensor] = kept, name: str = name) -> None:
                kept[name] = out

            hooks.append(linear.register_forward_hook(keep))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def look_loss(
    seen: list[tuple[CrossAttention, dict[str, Tensor]]],
    heads: DenseHeads,
    keypoints_2d: Tensor,
    kept: Tensor | None,
) -> Tensor:
    """Cross-entropy between the attention of the task tokens over patches and the patches of their joints.

    Args:
        seen: the records of `recorded`, after a call of the decoder.
        heads: know the position of each patch.
        keypoints_2d: true places, `[B, J, 2]` in crops; those outside all patches are left out.
        kept: indices of the patches that the decoder reads, `[B, K]`; None for all of them.
    """
    patch, inside = rows_of(heads, keypoints_2d, kept)
    losses = []
    for module, record in seen:
        q, k = record["q"], record["kv"].chunk(2, dim=-1)[0]
        q, k = (x.reshape(*x.shape[:2], module.heads, -1) for x in (q, k))
        for head, pairs in enumerate(_targets(keypoints_2d.shape[1])):
            tokens, points = (torch.tensor(numbers, device=q.device) for numbers in zip(*pairs, strict=True))
            scores = q[:, tokens, head] @ k[:, :, head].transpose(1, 2) * q.shape[-1] ** -0.5  # [B, T, K]
            wanted, counts = patch[:, points], inside[:, points]
            loss = F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction="none")
            losses.append((loss * counts.flatten()).sum() / counts.sum().clamp(min=1))
    return torch.stack(losses).mean() / 4.0
