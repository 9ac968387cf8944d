"""Flags of `eval.py` for sets of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared_tmu.evaluation.run_lists import DIFFUSION, FREE, HEAD, HELD
from shared_tmu.programs.flags import named_path
from shared_tmu.temporal.smoothing.kinds import BOTH_WAYS, NO_SMOOTHING, SMOOTHERS


def add_clip_flags(add: Callable[..., Any]) -> None:
    """Add them."""
    add(
        "--plans",
        default=FREE,
        help=f"comma-separated list of {FREE}, {HELD}: whether each frame of a clip decides itself what "
        "merges, or merges what an earlier one merged while it hardly changes; for sets of clips",
    )
    add(
        "--decoder",
        default=HEAD,
        help=f"comma-separated list of {HEAD}, {DIFFUSION}: whether poses of a clip are the head's, or those "
        "of the temporal decoder that reads all frames; for sets of clips",
    )
    add(
        "--decoder_file",
        type=named_path,
        help="the decoder; default: that beside the weights, NAME.decoder.safetensors",
    )
    add(
        "--smooth",
        default=NO_SMOOTHING,
        help=f"comma-separated list of {', '.join((NO_SMOOTHING, *SMOOTHERS, BOTH_WAYS))}: how clips are "
        "smoothed",
    )


def clip_choices(given: Any) -> Mapping[str, Any]:
    """Their values, as `read_runs` takes them."""
    return {
        "plans": given.plans,
        "decoders": given.decoder,
        "decoder_file": given.decoder_file,
        "smooths": given.smooth,
    }
