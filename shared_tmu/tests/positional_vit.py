"""Small ViTs whose attention depends on positions, and the same with merging, by loops over tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from toy_vit import ToyAttention, ToyBlock, ToyMlp


class PositionalAttention(ToyAttention):
    """Rotates queries and keys, or adds biases; separate or shared projections."""

    def __init__(self, width, heads, prefix=2, by_halves=False, table=0, split=False, group=1):
        super().__init__(width, heads)
        self.num_prefix_tokens, self.rotate_half = prefix, by_halves
        self.norm = nn.LayerNorm(width)
        if table:
            self.relative_position_bias_table = nn.Parameter(torch.randn(table * table, heads))
            self.register_buffer("relative_position_index", torch.randperm(table * table).view(table, table))
        if split:
            del self.qkv
            self.qkv = None
            self.q_proj = nn.Linear(width, width)
            self.k_proj, self.v_proj = (nn.Linear(width, width // group) for _ in range(2))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `[B, H, N, D]` each."""
        if self.qkv is not None:
            q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
            return q, k, v
        q = self.q_proj(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        shared = [p(x).unflatten(2, (-1, q.shape[3])).transpose(1, 2) for p in (self.k_proj, self.v_proj)]
        return q, *(s.repeat_interleave(self.num_heads // s.shape[1], 1) for s in shared)

    def own_bias(self) -> Tensor | float:
        """`[H, N, N]`."""
        if not hasattr(self, "relative_position_bias_table"):
            return 0.0
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def turn(self, x: Tensor, rope: Tensor | None) -> Tensor:
        """As in timm: the first tokens stay, the others rotate."""
        if rope is None:
            return x
        still, moved = x[:, :, : self.num_prefix_tokens], x[:, :, self.num_prefix_tokens :]
        sine, cosine = rope.chunk(2, -1)
        if self.rotate_half:
            other = torch.cat([-moved.chunk(2, -1)[1], moved.chunk(2, -1)[0]], -1)
        else:
            other = torch.stack([-moved[..., 1::2], moved[..., ::2]], -1).flatten(-2)
        return torch.cat([still, moved * cosine + other * sine], 2)

    def forward(self, x: Tensor, rope: Tensor | None = None, shared_rel_pos: Tensor | None = None) -> Tensor:
        q, k, v = self.project(x)
        logits = self.turn(q, rope) * self.scale @ self.turn(k, rope).mT + self.own_bias()
        if shared_rel_pos is not None:
            logits = logits + shared_rel_pos
        return self.proj(self.norm((logits.softmax(-1) @ v).transpose(1, 2).flatten(2)))


class PositionalBlock(ToyBlock):
    """A block that takes positions and passes them to its attention."""

    def __init__(self, width=32, heads=4, **attention):
        super().__init__(width, heads)
        self.attn = PositionalAttention(width, heads, **attention)
        self.mlp = ToyMlp(width, 64)

    def forward(self, x: Tensor, rope: Tensor | None = None, shared_rel_pos: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), rope=rope, shared_rel_pos=shared_rel_pos)
        return x + self.mlp(self.norm2(x))


class PositionalViT(nn.Module):
    """Tokens in, tokens out; its blocks are given a rotary embedding, a shared bias, both or neither."""

    def __init__(self, grid=(4, 5), prefix=2, depth=3, rotary=True, shared=False, mixed=False, **attention):
        super().__init__()
        count = grid[0] * grid[1]
        self.num_prefix_tokens, self.grid, self.mixed = prefix, grid, mixed
        self.embed = nn.Conv2d(3, 32, 2, 2)
        self.image_size = (2 * grid[0], 2 * grid[1])
        self.task_tokens = nn.Parameter(torch.randn(1, prefix, 32))
        angles = torch.rand(depth, 4, count, 8) * 6 if mixed else torch.rand(count, 8) * 6
        if not attention.get("by_halves"):
            angles = angles[..., :4].repeat_interleave(2, -1)
        else:
            angles = angles[..., :4].repeat(*(1,) * (angles.ndim - 1), 2)
        self.rope = torch.cat([angles.sin(), angles.cos()], -1) if rotary else None
        self.shared = nn.Parameter(torch.randn(1, 4, count + prefix, count + prefix)) if shared else None
        self.blocks = nn.ModuleList(PositionalBlock(prefix=prefix, **attention) for _ in range(depth))

    def given(self, number: int) -> dict[str, Tensor]:
        """What block `number` is given."""
        rope = self.rope if self.rope is None or not self.mixed else self.rope[number]
        like = self.task_tokens.dtype
        named = {"rope": rope, "shared_rel_pos": self.shared}
        return {name: value.to(like) for name, value in named.items() if value is not None}

    def enter(self, images: Tensor) -> Tensor:
        """The tokens that enter the blocks."""
        x = self.embed(images).flatten(2).transpose(1, 2)
        return torch.cat([self.task_tokens.expand(len(x), -1, -1), x], 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.enter(images)
        for number, block in enumerate(self.blocks):
            x = block(x, **self.given(number))
        return x


def run_by_hand(vit: PositionalViT, image: Tensor, removed: list[int]) -> Tensor:
    """Merging of one image `[3, H, W]` by loops: a target keeps its position, whoever joins it.

    Written from ToMe's paper and the rule for positions; nothing of shared_tmu is used.
    """
    slots = list(vit.enter(image[None])[0])
    groups = [[n] for n in range(len(slots))]
    positions = list(range(len(slots)))
    prefix = vit.num_prefix_tokens
    for number, (block, r) in enumerate(zip(vit.blocks, removed, strict=True)):
        x = torch.stack(slots)
        added, keys = _attend(block, block.norm1(x), positions, groups, vit.given(number))
        x = x + added
        slots = list(x)
        if r:
            slots, positions, groups = _merge(slots, positions, groups, keys, r, prefix)
        slots = [slot + block.mlp(block.norm2(slot)) for slot in slots]
    whole = [slots[0]] * sum(len(group) for group in groups)
    for slot, group in zip(slots, groups, strict=True):
        for n in group:
            whole[n] = slot
    return torch.stack(whole)


def _attend(block, normed, positions, groups, given):
    attn, prefix = block.attn, block.attn.num_prefix_tokens
    q, k, v = (part[0] for part in attn.project(normed[None]))  # [H, M, D]
    if "rope" in given:
        rope = given["rope"] if given["rope"].ndim == 3 else given["rope"][None].expand(len(q), -1, -1)
        q, k = (_rotate(part, rope, positions, prefix, attn.rotate_half) for part in (q, k))
    bias = torch.zeros(len(q), len(normed), len(normed)).to(normed)
    for i, a in enumerate(positions):
        for j, b in enumerate(positions):
            bias[:, i, j] = math.log(len(groups[j]))
            if "shared_rel_pos" in given:
                bias[:, i, j] += given["shared_rel_pos"][0, :, a, b]
            if hasattr(attn, "relative_position_bias_table"):
                bias[:, i, j] += attn.own_bias()[:, a, b]
    weights = (q @ k.mT * attn.scale + bias).softmax(-1)
    return attn.proj(attn.norm((weights @ v).transpose(0, 1).flatten(1))), k.mean(0)


def _rotate(x, rope, positions, prefix, by_halves):
    out, half = x.clone(), x.shape[2] // 2
    for slot, position in enumerate(positions):
        if position < prefix:
            continue
        for pair in range(half):
            a, b = (pair, pair + half) if by_halves else (2 * pair, 2 * pair + 1)
            sine, cosine = rope[:, position - prefix, a], rope[:, position - prefix, a + x.shape[2]]
            out[:, slot, a] = x[:, slot, a] * cosine - x[:, slot, b] * sine
            out[:, slot, b] = x[:, slot, b] * cosine + x[:, slot, a] * sine
    return out


def _merge(slots, positions, groups, keys, r, prefix):
    first, second = (list(range(prefix + start, len(slots), 2)) for start in (0, 1))
    sources, targets = (second, first) if prefix == 1 else (first, second)
    best = {}
    for source in sources:
        scores = torch.stack([torch.cosine_similarity(keys[source], keys[t], 0) for t in targets])
        best[source] = (scores.max().item(), targets[int(scores.argmax())])
    ranked = sorted(sources, key=lambda source: -best[source][0])
    total = {n: len(group) for n, group in enumerate(groups)}
    sums = {n: slot * total[n] for n, slot in enumerate(slots)}
    members = {n: list(group) for n, group in enumerate(groups)}
    for source in ranked[:r]:
        target = best[source][1]
        sums[target] = sums[target] + sums[source]
        members[target] += groups[source]
    staying = sorted(ranked[r:]) if prefix in (1, 2) else ranked[r:]
    order = [*range(prefix), *staying, *targets]
    means = [sums[n] / len(members[n]) for n in order]
    return means, [positions[n] for n in order], [members[n] for n in order]
