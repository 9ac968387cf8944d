"""A trained decoder in one file: float16 weights, its sizes, and the weights that its features come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared_tmu.errors import CheckpointError, TMUError
from shared_tmu.files import shortened
from shared_tmu.files.checkpoints import beside, read_checkpoint, read_metadata, save_safetensors
from shared_tmu.temporal.config import TemporalConfig
from shared_tmu.temporal.model import MotionDecoder

KIND = "tmu-motion-decoder-1"
_ABOUT = "about"
_TRAIN = "train one with train.py --config-name motion"


@dataclass(frozen=True)
class DecoderFacts:
    """What a file says about a decoder.

    Attributes:
        model: name of the model whose features it reads.
        weights: `mark_weights` of it.
        measured: what it was trained on and measured to do, plain values.
    """

    model: str
    weights: str
    measured: Mapping[str, Any]


def decoder_path(weights: Path) -> Path:
    """The decoder's place beside the weights whose features it reads."""
    return beside(weights, ".decoder.safetensors")


def save_decoder(path: Path, decoder: MotionDecoder, facts: DecoderFacts) -> None:
    """Write a decoder, in float16."""
    about = {"model": facts.model, "weights": facts.weights, "sizes": decoder.config.as_dict()}
    told = json.dumps({**about, "measured": dict(facts.measured)})
    tensors = {name: tensor.half() for name, tensor in decoder.state_dict().items()}
    save_safetensors(tensors, path, {"kind": KIND, _ABOUT: told})


def load_decoder(path: Path) -> tuple[MotionDecoder, DecoderFacts]:
    """Read what `save_decoder` wrote; float32, in eval mode, on the CPU.

    Raises:
        CheckpointError: it is not such a file, or damaged.
        MissingAssetError: there is none.
    """
    tensors, metadata = read_checkpoint(path, _TRAIN), read_metadata(path)
    if metadata.get("kind") != KIND:
        raise CheckpointError(
            f"{path} is not a temporal decoder ({shortened(repr(metadata.get('kind')), 40)} instead of "
            f"{KIND!r}): {_TRAIN}."
        )
    try:
        about = json.loads(metadata[_ABOUT])
        decoder = MotionDecoder(TemporalConfig.read(about["sizes"]))
        decoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        facts = DecoderFacts(str(about["model"]), str(about["weights"]), dict(about["measured"]))
        bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        if bad:
            raise ValueError(f"{bad[0]} is not finite")
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError, TMUError) as error:
        first = shortened(str(error).splitlines()[0] if str(error) else type(error).__name__, 80)
        raise CheckpointError(f"{path} is a damaged temporal decoder ({first}): {_TRAIN}.") from error
    return decoder.eval(), facts


def require_decoder_fit(facts: DecoderFacts, model: nn.Module, path: Path) -> None:
    """See that a decoder was trained on the features of these weights.

    Raises:
        CheckpointError: it was not, so that it would read something else than it learned.
    """
    if mark_weights(model) != facts.weights:
        raise CheckpointError(
            f"the temporal decoder {path} was trained on features of other weights ({facts.model}), so its "
            f"motion would have no meaning: {_TRAIN}, or leave --decoder out."
        )


def mark_weights(model: nn.Module) -> str:
    """SHA-256 of a model's weights in the precision of bfloat16, the same in float32 and bfloat16."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.is_floating_point():
            values = tensor.detach().cpu().to(torch.bfloat16).contiguous()
            digest.update(f"{name} {tuple(values.shape)}\n".encode())
            digest.update(values.flatten().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()
