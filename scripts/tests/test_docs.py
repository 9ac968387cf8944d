"""The documents keep their promises: commands exist, snippets run, links lead somewhere."""

import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import run_command
from pages import PAGES, ROOT

from wilor_tmu.model import loading

LIBRARY = "shared_tmu/README.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
SMALL = {
    "backbone": {"img_size": [128, 96], "embed_dim": 32, "depth": 20, "num_heads": 2},
    "decoder": {"dim": 16, "depth": 1, "heads": 2, "dim_head": 8, "mlp_dim": 16, "context_dim": 32},
    "image_size": 128,
}
# What the snippets take for granted: a model, a batch for it, and tokens for its blocks.
GIVEN = f"""
import torch
from hamer_tmu import HaMeR, HaMeRConfig
from shared_tmu.body_models import load_mano
torch.manual_seed(0)
model = HaMeR(HaMeRConfig.from_dict({SMALL}), load_mano()).eval()
batch = {{"img": torch.randn(2, 3, 128, 128)}}
img = torch.randn(2, 3, 256, 256)
tokens = torch.randn(2, 48, 32)
"""
# A stand-in for a user's checkout of the published repository: the parts of its ViT that merging looks at.
PUBLISHED = """
from types import SimpleNamespace
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_heads = 2
        self.scale = 8**-0.5
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        weights = (q * self.scale @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


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
        self.blocks = nn.ModuleList(Block() for _ in range(20))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 2, 1).reshape(-1, 16, 16, 12)


def load_hamer(path):
    return SimpleNamespace(backbone=ViT().eval()), None
"""


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands() -> list[tuple[Path, list[str]]]:
    """Every command line of the documents, with the folder it runs in."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            folder = ROOT if page.is_relative_to(ROOT / "assets") else page.parent
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    words = shlex.split(part, comments=True)
                    if words[:1] == ["cd"]:
                        folder = ROOT / words[1]
                    elif words:
                        found.append((folder, words))
    return found


def programs() -> list[Path]:
    """Every Python program that the documents run."""
    scripts = {
        (folder / word).resolve()
        for folder, words in commands()
        if "python" in words[0]
        for word in words
        if word.endswith(".py")
    }
    return sorted(scripts)


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size < 8000


def test_the_readme_sets_up_with_three_commands() -> None:
    first = blocks(ROOT / "README.md", "bash")[0]
    lines = [shlex.split(line, comments=True) for line in first.splitlines()]
    assert lines == [["bash", f"scripts/{name}.sh"] for name in ("demo", "page", "test")]


@pytest.mark.parametrize(("folder", "words"), commands())
def test_every_command_names_existing_files(folder: Path, words: list[str]) -> None:
    program = words[0]
    if program.endswith("python"):
        assert program in (".venv/bin/python", "../.venv/bin/python")
        assert words[1] == "-m" or (folder / words[1]).is_file(), words
    elif program == "bash":
        assert (folder / words[1]).is_file(), words
    else:
        assert program == "pip", words
        assert all((folder / word).exists() for word in words if word.startswith(("..", "./"))), words


@pytest.mark.parametrize("program", programs(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_documented_program_has_help(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_command(program, ["--help"], monkeypatch, capsys)
    assert done.code == 0
    assert len(done.stdout) > 100


@pytest.fixture
def street(tmp_path: Path) -> None:
    """The photograph that snippets name: a sample."""
    shutil.copy(ROOT / "assets/samples/synthhand_2_left.jpg", tmp_path / "street.jpg")


@pytest.fixture
def run_snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs code as a user's own file in a folder of its own."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(code: str) -> None:
        (tmp_path / "snippet.py").write_text(code, encoding="utf-8")
        runpy.run_path("snippet.py", run_name="__main__")
        for name in set(sys.modules) - before:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]

    return run


def snippets(page: str) -> list[str]:
    return blocks(ROOT / page, "python")


def test_the_snippets_of_the_python_call_run(
    street: None, tmp_path: Path, run_snippet: Callable[[str], None]
) -> None:
    """One after the other, as a reader types them; with the bundled model and detector."""
    check = """
assert model.setting == "8x16-mask-probe"
assert 0 < moved_mm.mean() < 50
assert overlay.shape == picture.shape and (overlay != picture).any()
"""
    first, *others = snippets("PYTHON.md")
    sides = "assert False in [hand.is_right for hand in hands]"
    run_snippet("\n".join([first, sides, *others]) + check)
    assert (tmp_path / "hand_0.glb").is_file()


@pytest.mark.usefixtures("street")
@pytest.mark.parametrize(
    "code", [c for page in ("README.md", LIBRARY) for c in snippets(page) if "hamer.models" not in c]
)
def test_the_snippets_of_the_readme_and_the_library_run(
    code: str, run_snippet: Callable[[str], None]
) -> None:
    run_snippet(GIVEN + code)


def test_the_snippet_for_the_published_hamer_runs(tmp_path: Path, run_snippet: Callable[[str], None]) -> None:
    (code,) = [c for c in snippets(LIBRARY) if "hamer.models" in c]
    (tmp_path / "hamer").mkdir()
    (tmp_path / "hamer/__init__.py").write_text("")
    (tmp_path / "hamer/models.py").write_text(PUBLISHED)
    check = """
import torch
out = model.backbone(torch.randn(2, 192, 16))
assert out.shape == (2, 16, 16, 12)
merged = out.flatten(2).transpose(1, 2)[0].unique(dim=0)
assert len(merged) == 92, len(merged)
"""
    run_snippet(code + check)


@pytest.mark.parametrize("code", snippets("HaMeR_TMU/README.md"))
def test_the_snippets_of_hamer_run(code: str, run_snippet: Callable[[str], None]) -> None:
    run_snippet(GIVEN + code)


# WiLoR's snippets load the bundled weights: here a tiny model stands for them.
GIVEN_WILOR = """
import pathlib
import torch
from shared_tmu.body_models import load_mano
from wilor_tmu import WiLoR, WiLoRConfig, save_wilor
from wilor_tmu.model import loading
torch.manual_seed(0)
sizes = WiLoRConfig.from_dict({"backbone": {"embed_dim": 32, "depth": 20, "num_heads": 2}})
loading.BUNDLED = pathlib.Path("tiny.safetensors")
save_wilor(WiLoR(sizes, load_mano()), loading.BUNDLED)
img = torch.randn(2, 3, 256, 256)
"""


@pytest.mark.parametrize("code", [c for c in snippets("WiLoR_TMU/README.md") if "wilor.models" not in c])
def test_the_snippets_of_wilor_run(
    code: str, run_snippet: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BUNDLED", loading.BUNDLED)  # put back afterwards
    run_snippet(GIVEN_WILOR + code)


def test_the_snippet_for_the_published_wilor_runs(tmp_path: Path, run_snippet: Callable[[str], None]) -> None:
    (code,) = [c for c in snippets("WiLoR_TMU/README.md") if "wilor.models" in c]
    (tmp_path / "wilor").mkdir()
    (tmp_path / "wilor/__init__.py").write_text("")
    published = PUBLISHED.replace("load_hamer(path)", "load_wilor(path, config)")
    published = published.replace("x.permute(0, 2, 1).reshape(-1, 16, 16, 12)", "x")
    (tmp_path / "wilor/models.py").write_text(published)
    check = """
import torch
out = model.backbone(torch.randn(1, 210, 16))[0]
assert len(out[:18].unique(dim=0)) == 18
assert len(out.unique(dim=0)) == 110
"""
    run_snippet(code + check)


# SMPLest-X's snippet loads official files: here a tiny model and the bundled person stand for them.
GIVEN_SMPLEST_X = """
import torch
import yaml
from pathlib import Path
import numpy as np
from shared_tmu.body_models import load_smplx
from smplest_x_tmu import SMPLestX, SMPLestXConfig
torch.manual_seed(0)
sizes = SMPLestXConfig.from_dict({
    "encoder": {"embed_dim": 32, "depth": 20, "num_heads": 2},
    "decoder": {"depth": 1, "heads": 2, "dim_head": 8, "dim": 32, "mlp_dim": 16, "context_dim": 32,
                "dim_out": 4},
})
np.savez("SMPLX_NEUTRAL.npz", **load_smplx().to_dict())
torch.save({"network": SMPLestX(sizes, load_smplx()).state_dict()}, "smplest_x_h.pth.tar")
Path("smplest_x_h.pth.yaml").write_text(yaml.safe_dump(sizes.to_dict()))
img = torch.rand(2, 3, 512, 384)
"""


@pytest.mark.parametrize("code", snippets("SMPLest-X_TMU/README.md"))
def test_the_snippets_of_smplest_x_run(code: str, run_snippet: Callable[[str], None]) -> None:
    run_snippet(GIVEN_SMPLEST_X + code)
