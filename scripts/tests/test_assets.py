"""assets.py: what there is, where it belongs, and its checksums."""

import re
import subprocess
import sys
from pathlib import Path

import asset_table
import pytest
from toy_asset import DIGEST, run, state

import assets


@pytest.mark.parametrize("name", sorted(assets.ASSETS))
def test_says_licence_and_address_of_every_asset(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", name, "--data_dir", tmp_path) == 0
    out = capsys.readouterr().out
    assert "missing" in out
    assert "https://" in out
    assert assets.ASSETS[name].licence in out
    assert run("status", "--data_dir", tmp_path) == 0
    assert name in capsys.readouterr().out


def test_needs_a_name_for_a_source(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run("place", "--from", tmp_path)


def test_explain_says_where_each_file_belongs_and_what_needs_it(
    asset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.yaml").write_text("a: 1\n")
    assert run("explain", "Toy", "ho3d-v2", "--data_dir", tmp_path) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path / 'toy/checkpoints/model.pkl'}: missing; SHA-256 {DIGEST}" in out
    assert f"{tmp_path / 'toy/config.yaml'}: found; no checksum known" in out
    assert "eval.py --dataset ho3d-v2" in out
    assert run("verify", asset, "--data_dir", tmp_path) == 1  # incomplete
    assert re.search(r"^toy +missing +toy/checkpoints/model.pkl", capsys.readouterr().out, re.M)


def test_an_optional_file_does_not_make_an_asset_incomplete(asset: str, tmp_path: Path) -> None:
    parts = (
        asset_table.AssetPart("a", "toy", "a"),
        asset_table.AssetPart("b", "toy", "b", optional=True),
    )
    assets.ASSETS[asset] = asset_table.Asset("a toy", "", "", parts, "")
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "b").write_text("b")
    assert state(asset, tmp_path) == "incomplete"
    (tmp_path / "toy" / "a").write_text("")
    assert state(asset, tmp_path) == "found"
    assert run("verify", asset, "--data_dir", tmp_path) == 1  # an empty file is no download
    (tmp_path / "toy" / "a").write_text("a")
    assert run("verify", asset, "--data_dir", tmp_path) == 0


@pytest.mark.parametrize("command", [(), ("explain",), ("explain", "mona"), ("place", "mano"), ("fetch",)])
def test_wrong_command_lines(command: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*command)
    assert caught.value.code == 2


def test_runs_before_anything_is_installed(tmp_path: Path) -> None:
    program = Path(assets.__file__)
    flags = ["-S", str(program), "status", "--data_dir", str(tmp_path)]
    done = subprocess.run([sys.executable, *flags], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(assets.ASSETS)
