"""`pip install ./shared_tmu` alone needs PyTorch and nothing else, not even NumPy: the core runs without."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys

BARE = {"shared_tmu", "torch", "torchgen", "functorch", "typing_extensions", "sympy", "mpmath", "networkx"}
BARE |= {"jinja2", "markupsafe", "fsspec", "filelock", "setuptools", *sys.stdlib_module_names}

class Bare:
    '''The finders that there are, as if only PyTorch were installed.'''

    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in BARE and not name.startswith("_"):
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in found if spec is not None), None)

sys.meta_path[:] = [Bare(list(sys.meta_path))]
import warnings
warnings.simplefilter("ignore")
import torch
from torch import nn
from shared_tmu import METHODS, Schedule, patch, run_trunk

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_heads, self.qkv, self.proj = 2, nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        return self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(16), Attention(), nn.LayerNorm(16)
        self.mlp = nn.Linear(16, 16)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))

class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(4))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x

torch.manual_seed(0)
vit, x = ViT().eval(), torch.randn(2, 48, 16)
with torch.no_grad():
    plain = vit(x)
    for method in ("tome", "pitome", "tofu", "random"):
        with patch(vit, "5x3", method=method, num_prefix_tokens=0):
            merged = vit(x)
        assert merged.shape == plain.shape and not torch.equal(merged, plain)
    assert torch.equal(vit(x), plain)
    run_trunk(vit.blocks, x, Schedule.parse("4x2"))
assert "numpy" not in sys.modules
print(len(METHODS) > 4)
"""


def test_the_library_depends_on_pytorch_alone() -> None:
    project = tomllib.loads((ROOT / "shared_tmu/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [name.partition(">")[0] for name in project["dependencies"]] == ["torch"]


def test_the_core_runs_where_only_pytorch_is_installed() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr
