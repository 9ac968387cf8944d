"""The Python call: `hamer_tmu.load(r="8x16").predict(image)`."""

from typing import Any, Unpack

from hamer_tmu.tmu.program import PROGRAM
from shared_tmu.api import Hand, LoadOptions, MeshModel, load_model
from shared_tmu.api.keywords import FilePath


def load(
    r: Any = "5x20",
    *,
    device: Any = "auto",
    mano_path: FilePath | None = None,
    **options: Unpack[LoadOptions],
) -> MeshModel[Hand]:
    """Load HaMeR with token merging; `predict` of what it returns finds hands in pictures.

    Args:
        r: tokens to remove per layer, anything that `shared_tmu.Schedule.parse` reads; `"off"` for the
            unpatched model; `"auto:0.5mm"` searches.
        device: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, ...
        mano_path: MANO_RIGHT.pkl; the bundled body model if left out.
        **options: `method`, `mask`, `checkpoint`, ... as the flags of demo.py; see
            `shared_tmu.api.LoadOptions`.

    Raises:
        TMUError: an argument is unknown or invalid, or a file is missing or does not fit.
    """
    return load_model(PROGRAM, Hand, {"r": r, "device": device, "mano_path": mano_path, **options})
