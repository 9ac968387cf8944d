"""The Python call: `smplest_x_tmu.load(r="8x16").predict(image)`."""

from typing import Any, Unpack

from shared_tmu.api import LoadOptions, MeshModel, Person, load_model
from shared_tmu.api.keywords import FilePath
from smplest_x_tmu.tmu.program import PROGRAM


def load(
    r: Any = "5x20",
    *,
    device: Any = "auto",
    smplx_path: FilePath | None = None,
    **options: Unpack[LoadOptions],
) -> MeshModel[Person]:
    """Load SMPLest-X with token merging; `predict` of what it returns finds people in pictures.

    Args:
        r: tokens to remove per layer, anything that `shared_tmu.Schedule.parse` reads; `"off"` for the
            unpatched model; `"auto:0.5mm"` searches.
        device: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, ...
        smplx_path: SMPLX_NEUTRAL.npz; the bundled body model if left out.
        **options: `method`, `mask`, `checkpoint`, ... as the flags of demo.py; see
            `shared_tmu.api.LoadOptions`.

    Raises:
        TMUError: an argument is unknown or invalid, or a file is missing or does not fit.
    """
    return load_model(PROGRAM, Person, {"r": r, "device": device, "smplx_path": smplx_path, **options})
