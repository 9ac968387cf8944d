"""Trains a linear probe: features of a ViT that stays as it is, computed once and kept; then one layer."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.classification.classifier import FeatureNet, program_of
from shared_tmu.classification.crops import Crop
from shared_tmu.classification.labelled import UNREAD
from shared_tmu.classification.probe_file import ProbeFile
from shared_tmu.classification.sources import LabelledSource
from shared_tmu.datasets import picture_signature
from shared_tmu.errors import InputError
from shared_tmu.evaluation.predict import assemble
from shared_tmu.evaluation.predictor import predict_missing
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.evaluation.store import Chunk, RunFolder, chunk_bounds
from shared_tmu.evaluation.world import World, make_trainer
from shared_tmu.programs.identity import digest_of, weights_sha256
from shared_tmu.programs.model_program import BASELINE
from shared_tmu.runtime.packing import pack_if_possible

DECAYS = (1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""Weight decays to choose from, on standardised features."""
VALIDATION = 0.2
"""Share of the training pictures by which the weight decay is chosen; no test picture is seen."""
_STEPS = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A layer, and how it did on pictures that it had not seen."""

    weight: Tensor
    bias: Tensor
    decay: float
    validation_pct: float


def compute_features(
    vit: nn.Module, crop: Crop, source: LabelledSource, settings: EvalSettings
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features `[N, F]` and class `[N]` of the pictures of a source that can be read; finished chunks of an
    earlier run are used again.

    Args:
        vit: its tokens are read, see `classifier.features_of`.
        crop: how pictures become its input.
        source: the pictures.
        settings: says where chunks are kept, how many pictures are used, and in which number format.
    """
    sha256, kept = weights_sha256(vit), ("features", "label")
    data = replace(source.labelled(crop, len(source.classes), source.classes), kept=kept)
    told = {"vit": sha256, "set": data.fingerprint, "crop": crop.facts(), "dtype": settings.dtype_name}
    data = data if settings.limit is None else data.head(settings.limit)  # more pictures continue fewer
    net = FeatureNet(copy.deepcopy(vit), crop).eval().to(device=settings.device, dtype=settings.dtype)
    folder = RunFolder(settings.results / "features" / f"{source.name}-{digest_of(told)[:12]}")
    bounds = chunk_bounds(len(data), settings.batch_size)
    chunks = [Chunk(a, b, picture_signature(data.images[a:b])) for a, b in bounds]
    program, world = program_of("features", lambda: net, Path("features")), World(device=settings.device)
    with pack_if_possible(net):
        predict_missing(program, net, data, {BASELINE: folder}, chunks, settings, world, make_trainer(world))
    found = assemble(folder, chunks)
    assert found is not None, "all chunks are there"
    labels = found["label"].astype(np.int64)
    return found["features"][labels != UNREAD], labels[labels != UNREAD]


def fit_probe(
    features: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int, seed: int = 0
) -> Fitted:
    """Multinomial logistic regression with the weight decay that is best on a validation part, then on all.

    Args:
        features: `[N, F]`.
        labels: `[N]`, in 0..K - 1.
        num_classes: K.
        seed: of the split.

    Raises:
        InputError: too few pictures, or a class without any.
    """
    absent = sorted(set(range(num_classes)) - set(labels.tolist()))
    if absent or len(labels) < 5 * num_classes:
        found = (
            f"class {absent[0]} has none" if absent else f"there are {len(labels)} of {num_classes} classes"
        )
        raise InputError(f"a probe needs about 5 pictures of each class at least, but {found}.")
    x, y = torch.from_numpy(features).double(), torch.from_numpy(labels)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    held = max(1, int(VALIDATION * len(y)))
    seen, unseen = order[held:], order[:held]
    results = []
    for decay in DECAYS:
        weight, bias = _regress(x[seen], y[seen], num_classes, decay)
        logits = x[unseen] @ weight.T + bias
        loss = float(F.cross_entropy(logits, y[unseen]))
        right = float((logits.argmax(dim=1) == y[unseen]).double().mean())
        _log.info("weight decay %g: validation loss %.4f, top-1 %.2f %%", decay, loss, 100 * right)
        results.append((loss, decay, 100 * right))
    _, decay, right = min(results)
    weight, bias = _regress(x, y, num_classes, decay)
    return Fitted(weight.float(), bias.float(), decay, right)


def _regress(x: Tensor, y: Tensor, num_classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """Weight `[K, F]` and bias `[K]` for features as they are; found on standardised ones."""
    mean, std = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6)
    scaled = (x - mean) / std
    weight = torch.zeros(num_classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(num_classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(scaled @ weight.T + bias, y) + 0.5 * decay * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    found = weight.detach() / std
    return found, bias.detach() - found @ mean


def make_probe(
    fitted: Fitted, classes: Sequence[str], vit: nn.Module, crop: Crop, about: dict[str, Any]
) -> ProbeFile:
    """The probe of a fit."""
    facts = {**about, "weight_decay": fitted.decay, "validation_top1_pct": round(fitted.validation_pct, 3)}
    return ProbeFile(fitted.weight, fitted.bias, tuple(classes), weights_sha256(vit), crop.size, facts)
