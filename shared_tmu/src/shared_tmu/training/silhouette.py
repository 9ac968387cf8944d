"""Exports the read-out of `silhouette_block` as the probe that `--mask probe` reads."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from shared_tmu.masks import ProbeFacts, TokenProbe, weights_before
from shared_tmu.programs.mask_flags import probe_beside
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.training.data import ShardSet
from shared_tmu.training.patches import encode_some, to_patches
from shared_tmu.training.photos import collate
from shared_tmu.training.probe import describe

_BATCH = 50


@torch.inference_mode()
def export_probe(program: ModelProgram, exported: Path, done: Path, block: int, pictures: ShardSet) -> Path:
    """Write the probe of a trained model beside its weights.

    The read-out was trained on shares of patches, a probe tells whether any of a patch shows the subject: its
    bias is chosen so that on held-out pictures as many tokens are found as show it.

    Args:
        program: description of the model.
        exported: its weights as shipped, for which alone the probe is.
        done: what its last stage has left.
        block: whose input tokens are read.
        pictures: held-out ones, without changes.

    Returns:
        The file.
    """
    left = load_file(done)
    weight, bias = left["dense.silhouette.weight"][0], left["dense.silhouette.bias"][0]
    vit = program.estimates.vit(program.load_model(exported).eval())
    scores, shows = [], []
    for start in range(0, len(pictures), _BATCH):
        packed = [pictures.packed(i, None) for i in range(start, min(start + _BATCH, len(pictures)))]
        batch = pictures.unpack(collate(packed))
        scores.append(tokens_at(vit, batch["img"], block) @ weight + bias)
        shows.append((to_patches(batch["part"]) > 0).any(-1))
    score, shown = torch.cat(scores), torch.cat(shows)
    shift = score.flatten().quantile(1.0 - shown.float().mean())
    probe = TokenProbe(weight, bias - shift, block)
    measured = describe(score - shift, shown) | {"held_out": len(pictures)}
    path = probe_beside(exported)
    probe.save(path, ProbeFacts(program.name, weights_before(vit, block), measured))
    return path


def tokens_at(vit: torch.nn.Module, img: Tensor, block: int) -> Tensor:
    """The patch tokens that enter a block, `[B, P, C]` float32."""
    prefix, seen = getattr(vit, "num_prefix_tokens", 0), list[Tensor]()

    def enter(number: int, tokens: Tensor) -> None:
        if number == block:
            seen.append(tokens[:, prefix:].float())

    encode_some(vit, img, None, enter=enter)
    return seen[0]
