"""Saliency of photographs with and without merging: how far each way to restore is from the unmerged map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.classification.classifier import program_of
from shared_tmu.classification.crops import IMAGENET_MEAN, IMAGENET_STD
from shared_tmu.classification.photo_vit import SaliencyNet
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.patching import PatchHandle
from shared_tmu.pictures.images import read_image
from shared_tmu.plans.plan import MergePlan
from shared_tmu.programs.flop_counter import count_flops
from shared_tmu.programs.model_program import Run

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Photograph:
    """A photograph as the model takes it: the longer side resized to its input, black around it.

    Attributes:
        name: of its file.
        rgb: `[h, w, 3]` uint8, the part of the input that it fills.
        top, left: where in the input, pixels.
        img: the input, `[3, H, W]`.
    """

    name: str
    rgb: NDArray[np.uint8]
    top: int
    left: int
    img: Tensor

    @classmethod
    def read(cls, path: Path, size: tuple[int, int]) -> Photograph:
        """Read one for an input of this size.

        Raises:
            InputError: it cannot be read.
        """
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(read_image(path).bgr[:, :, ::-1]))
        scale = min(size[0] / picture.height, size[1] / picture.width)
        sides = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        rgb = np.asarray(
            picture.resize(sides, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
        )
        top, left = (size[0] - sides[1]) // 2, (size[1] - sides[0]) // 2
        canvas = np.zeros((*size, 3), np.float32)
        canvas[top : top + sides[1], left : left + sides[0]] = rgb / 255.0
        img = torch.from_numpy((canvas - IMAGENET_MEAN) / IMAGENET_STD).permute(2, 0, 1).float()
        return cls(path.name, rgb, top, left, img)

    def part(self, whole: Tensor) -> Map:
        """The part of a map `[H, W]` that it fills, `[h, w]`."""
        height, width = self.rgb.shape[:2]
        rows, columns = slice(self.top, self.top + height), slice(self.left, self.left + width)
        return np.asarray(whole[rows, columns].float().cpu().numpy())


@torch.inference_mode()
def compute_maps(
    net: SaliencyNet, run: Run, photographs: Sequence[Photograph], batch_size: int = 4
) -> tuple[list[Map], dict[str, Any]]:
    """Saliency of photographs with a merging setting, `[h, w]` each, and what the setting costs.

    Without unmerging, the M slots that are left are laid out row by row as a smaller grid, in the order of
    their first patch, and resized to the full one: what can be done without knowing which token went where.

    Args:
        net: the model.
        run: `off`, or how to merge.
        photographs: of the model's size.
        batch_size: photographs per call.

    Returns:
        The maps; and `tokens`, `tokens_kept` and `gflops` for one photograph.
    """
    program = program_of("saliency", lambda: net, Path("saliency"))
    device, dtype = next(net.parameters()).device, next(net.parameters()).dtype
    maps: list[Map] = []
    with run.patched(program, net, record=True) as handle:
        for start in range(0, len(photographs), batch_size):
            few = photographs[start : start + batch_size]
            img = torch.stack([one.img for one in few]).to(device, dtype)
            whole = net(img) if run.unmerge else net.decode(_merge_only(net, img, handle))
            maps += [one.part(each) for one, each in zip(few, whole, strict=True)]
        flops = count_flops(lambda: net.vit(photographs[0].img[None].to(device, dtype)))
        plan = handle.plan
    assert plan is not None, "a forward pass leaves a plan"
    costs = {"tokens": plan.num_tokens, "tokens_kept": plan.num_slots, "gflops": round(flops / 1e9, 4)}
    return maps, costs


def _merge_only(net: SaliencyNet, img: Tensor, handle: PatchHandle) -> Tensor:
    """A grid of features `[B, C, rows, columns]` from a model that does not unmerge."""
    slots, plan = net.vit(img), handle.plan
    if isinstance(plan, MergePlan):
        slots = slots.gather(1, order_slots(plan)[:, :, None].expand_as(slots))
    return spread(slots[:, 1:], net.vit.config.grid)


def order_slots(plan: MergePlan) -> Tensor:
    """Slots of a plan in the order of their first token, `[B, M]`."""
    batch, tokens = plan.source_map.shape
    carried = plan.source_map.clamp_min(0)  # pruned tokens come last
    position = torch.arange(tokens, device=carried.device).expand(batch, -1)
    position = torch.where(plan.source_map < 0, tokens, position)
    first = torch.full((batch, plan.num_slots), tokens, device=carried.device)
    return first.scatter_reduce(1, carried, position, "amin").argsort(dim=1)


def spread(slots: Tensor, grid: tuple[int, int]) -> Tensor:
    """Slots `[B, M, C]` row by row as a grid of about the same proportions, resized to `[B, C, *grid]`."""
    rows = max(1, round((slots.shape[1] * grid[0] / grid[1]) ** 0.5))
    columns = -(-slots.shape[1] // rows)
    missing = rows * columns - slots.shape[1]
    full = torch.cat((slots, slots[:, -1:].expand(-1, missing, -1)), dim=1)
    small = full.transpose(1, 2).reshape(len(slots), -1, rows, columns)
    if (rows, columns) == grid:
        return small
    resized: Tensor = F.interpolate(small, grid, mode="bilinear", align_corners=False)
    return resized


def compare_maps(found: Sequence[Map], plain: Sequence[Map]) -> dict[str, Any]:
    """How far maps are from the unmerged ones: over pictures, means with 95 % bootstrap intervals.

    Returns:
        `correlation` (Pearson's, over the pixels of a picture), `mean_error` (mean absolute difference, of
        values in 0..1), each with its `_interval_95` and its `_per_picture` list.
    """
    values = {
        "correlation": [correlate(a, b) for a, b in zip(found, plain, strict=True)],
        "mean_error": [float(np.abs(a - b).mean()) for a, b in zip(found, plain, strict=True)],
    }
    told: dict[str, Any] = {}
    for name, each in values.items():
        told[name] = float(np.mean(each))
        told[f"{name}_interval_95"] = list(bootstrap_interval(np.array(each)))
        told[f"{name}_per_picture"] = [round(value, 6) for value in each]
    return told


def correlate(a: Map, b: Map) -> float:
    """Pearson's correlation of two maps; 1 for equal ones, and else 0 if one of them is constant."""
    if np.array_equal(a, b):
        return 1.0
    left, right = (each.astype(np.float64).ravel() - each.mean() for each in (a, b))
    norm = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right / norm) if norm > 0 else 0.0


def measure_saliency(
    net: SaliencyNet, runs: Sequence[Run], photographs: Sequence[Photograph], plain: Sequence[Map]
) -> Iterator[tuple[Run, list[Map], Mapping[str, Any]]]:
    """Each run's maps and figures, as soon as they are there.

    Args:
        net: the model.
        runs: how to merge.
        photographs: the pictures.
        plain: their maps without merging.
    """
    for run in runs:
        maps, costs = compute_maps(net, run, photographs)
        yield run, maps, {**costs, **compare_maps(maps, plain)}
