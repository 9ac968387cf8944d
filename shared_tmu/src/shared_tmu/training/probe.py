"""`python -m shared_tmu.training.probe --model NAME` trains a probe for a checkpoint, in minutes on a CPU.

    python -m shared_tmu.training.probe --model hamer
    python -m shared_tmu.training.probe --model hamer --checkpoint data/hamer_ckpts/checkpoints/hamer.ckpt

The probe is a logistic regression from the tokens that enter a block to whether a token's window shows the
subject, fitted on renders with known meshes (seed 2000003, half of them with varied appearance; no
evaluation or training uses these scenes); a quarter of them is held out to measure it. The file lies beside
the weights, where `--mask probe` looks for it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from shared_tmu.datasets import EvalSet, SetOptions
from shared_tmu.datasets.synthbody import open_more_synthbody
from shared_tmu.datasets.synthhand import open_more_synthhand
from shared_tmu.errors import InputError
from shared_tmu.files.checkpoints import beside
from shared_tmu.masks import MASKS, Mask, MaskScene, ProbeFacts, TokenProbe, weights_before
from shared_tmu.programs.console import run_program
from shared_tmu.programs.estimates import HAND
from shared_tmu.programs.flags import CONFIG_HELP, FlagParser, named_path, natural, positive
from shared_tmu.programs.mask_flags import probe_beside
from shared_tmu.programs.model_program import ModelProgram, find_program
from shared_tmu.programs.results import require_other_file, require_writable

SEED = 2_000_003
VARIETY = 0.5
BLOCK = 1
_HELD_OUT = 0.25
_BATCH = 16
_PENALTY = 1e-3  # on the squared weights of standardised channels, per token
_STEPS = 15
_log = logging.getLogger("shared_tmu.training.probe")  # also where it is run as __main__


@dataclass(frozen=True)
class Labelled:
    """Tokens of pictures, `[N, P, C]`, and whether each shows the subject, `[N, P]` bool."""

    tokens: Tensor
    shows: Tensor

    def part(self, rows: slice) -> Labelled:
        """Some of the pictures."""
        return Labelled(self.tokens[rows], self.shows[rows])


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as a command line says; returns the exit status."""
    return run_program(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> None:
    parser = FlagParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="hamer, wilor, smplest-x, ...")
    add("--checkpoint", type=named_path, help="weights; default: the bundled ones")
    add("--config", type=named_path, help=CONFIG_HELP)
    add(
        "--body",
        type=named_path,
        help="body model's file that the checkpoint needs; default: the bundled one",
    )
    add("--block", type=natural, default=BLOCK, help=f"block whose input tokens are read; default: {BLOCK}")
    add("--count", type=positive, default=400, help="number of pictures; default: 400")
    add("--out", type=named_path, help="file to write; default: beside the weights")
    given = parser.parse_args(arguments)
    if given.count < 8:
        raise InputError(
            f"--count {given.count} is too small, because some pictures are held out: use at least 8."
        )
    program = find_program(given.model)
    checkpoint = given.checkpoint or program.default_checkpoint
    path = given.out or probe_beside(checkpoint)
    require_other_file(path, [path], (checkpoint, given.config or beside(checkpoint, ".yaml")))
    require_writable(path)
    model = program.load_model(given.checkpoint, given.body, given.config).eval()
    data = open_renders(program, model, given.count)
    probe, measured = train_probe(program, model, data, given.block)
    weights = weights_before(program.estimates.vit(model), given.block)
    probe.save(path, ProbeFacts(program.name, weights, measured))
    told = ", ".join(f"{name} {value:g}" for name, value in measured.items())
    _log.info("%s: %s.", path, told)


def open_renders(program: ModelProgram, model: nn.Module, count: int) -> EvalSet:
    """Renders that nothing else uses, with known meshes.

    Raises:
        InputError: they cannot be kept.
    """
    options = SetOptions().for_model(model)
    open_more = open_more_synthhand if program.estimates is HAND else open_more_synthbody
    return open_more("probe", count, SEED, VARIETY, options)


def train_probe(
    program: ModelProgram, model: nn.Module, data: EvalSet, block: int
) -> tuple[TokenProbe, dict[str, float]]:
    """Fit a probe, and measure it on pictures that were held out.

    Args:
        program: description of the model.
        model: in eval mode.
        data: with true meshes.
        block: whose tokens are read.

    Returns:
        The probe, and on the pictures held out `auc`, and `recall`, `precision` and `tokens` (per picture) of
        shares above one half, with how many `pictures` it was fitted on.

    Raises:
        InputError: there is no such block, or nothing to find in the pictures.
    """
    labelled = collect(program, model, data, block)
    fitted = round(len(data) * (1.0 - _HELD_OUT))
    weight, bias = fit(labelled.part(slice(fitted)))
    held_out = labelled.part(slice(fitted, None))
    if not held_out.shows.any():
        raise InputError(
            f"none of the {len(data) - fitted} pictures held out shows a {program.estimates.one}."
        )
    measured = describe(held_out.tokens @ weight + bias, held_out.shows) | {"pictures": fitted}
    return TokenProbe(weight, bias, block).placed(program.estimates.vit(model).blocks), measured


def describe(score: Tensor, shows: Tensor) -> dict[str, float]:
    """How well scores `[N, P]` tell which tokens show the subject, `[N, P]` bool: `auc`, and of scores above
    0 `recall`, `precision` and `tokens` per picture.
    """
    found = score > 0
    right = float((found & shows).sum())
    return {
        "auc": round(area_under_curve(score, shows), 4),
        "recall": round(right / float(shows.sum()), 4),
        "precision": round(right / max(float(found.sum()), 1.0), 4),
        "tokens": round(float(found.sum(dim=1).float().mean()), 2),
    }


class _Reached(Exception):
    pass


@torch.inference_mode()
def collect(program: ModelProgram, model: nn.Module, data: EvalSet, block: int) -> Labelled:
    """The patch tokens of all pictures as they enter a block, in float32, and what they show.

    Raises:
        InputError: there is no such block.
    """
    vit = program.estimates.vit(model)
    if block >= len(vit.blocks):
        raise InputError(
            f"--block {block} does not exist: {program.name} has blocks 0 to {len(vit.blocks) - 1}."
        )
    prefix = getattr(vit, "num_prefix_tokens", 0)
    seen: list[Tensor] = []

    def reach(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0][:, prefix:].float().clone())
        raise _Reached

    shows = []
    hook = vit.blocks[block].register_forward_pre_hook(reach)
    try:
        for start in range(0, len(data), _BATCH):
            rows = range(start, min(start + _BATCH, len(data)))
            crops = [data.load(index) for index in rows]
            scenes = [data.scene(i, crop, with_detector=False) for i, crop in zip(rows, crops, strict=True)]
            pixels = torch.from_numpy(np.stack([_truth(scene) for scene in scenes]))
            shows.append(program.estimates.cover(model, pixels))
            with suppress(_Reached):
                model({"img": torch.stack([crop["img"] for crop in crops])})
    finally:
        hook.remove()
    return Labelled(torch.cat(seen), torch.cat(shows))


def _truth(scene: MaskScene) -> Mask:
    drawn = MASKS["truth"].draw(scene)
    assert drawn is not None, "renders have true meshes"
    return drawn


def fit(labelled: Labelled) -> tuple[Tensor, Tensor]:
    """Logistic regression by Newton's method: weight `[C]` and bias `[]`, float32."""
    x, y = labelled.tokens.flatten(0, 1).double(), labelled.shows.flatten().double()
    middle, spread = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6)
    x = torch.cat([(x - middle) / spread, x.new_ones(len(x), 1)], dim=1)
    penalty = x.new_full((x.shape[1],), _PENALTY)
    penalty[-1] = 0.0
    found = x.new_zeros(x.shape[1])
    for _ in range(_STEPS):
        share = torch.sigmoid(x @ found)
        slope = x.T @ (share - y) / len(y) + penalty * found
        bend = (x * (share * (1 - share)).unsqueeze(1)).T @ x / len(y)
        found = found - torch.linalg.solve(bend + torch.diag(penalty + 1e-9), slope)
    weight = found[:-1] / spread
    return weight.float(), (found[-1] - middle @ weight).float()


def area_under_curve(score: Tensor, shows: Tensor) -> float:
    """Chance that a token of the subject scores above one of the background; 0.5 for a score that says
    nothing."""
    _, number, count = torch.unique(score.flatten(), return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    rank = (last - (count - 1) / 2)[number]  # ties share the middle of their ranks
    is_shown = shows.flatten()
    inside, outside = int(is_shown.sum()), int((~is_shown).sum())
    return float((rank[is_shown].sum() - inside * (inside + 1) / 2) / (inside * outside))


if __name__ == "__main__":
    sys.exit(main())
