"""Files of a bundled model with fewer layers (ECLM): made for a bound on the error, unless they are there."""

from pathlib import Path

from bundled import Bundled

from shared_tmu.errors import TMUError
from shared_tmu.evaluation.budget import merging_layers
from shared_tmu.evaluation.recipes import read_recipe_of, trunk_sha256
from shared_tmu.programs.model_program import find_program


def merged_file(model: Bundled, threshold: str, is_known: bool = False) -> Path | None:
    """The file of the model with fewer layers for one bound, made now unless it is there.

    Args:
        model: to merge layers of.
        threshold: bound in millimetres of PA-MPVPE.
        is_known: whether it must be there.

    Returns:
        None if nothing can be merged within this bound; the reason has been said.

    Raises:
        TMUError: it has to be there and is not.
    """
    program = find_program(model.stem)
    out = model.folder / "results" / "layers" / f"{model.stem}-together-{threshold}mm.safetensors"
    try:
        recipe = read_recipe_of(out)
    except TMUError:
        if is_known:
            raise
        recipe = None
    if recipe is not None and recipe.original == trunk_sha256(program, program.load_model(None)):
        return out
    flags = ["--threshold", threshold, "--out", str(out), "--flush"]
    return None if merging_layers.main(program, flags) else out
