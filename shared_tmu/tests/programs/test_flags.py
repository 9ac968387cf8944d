"""Values of flags: devices that there are, numbers that a machine survives."""

import argparse
from pathlib import Path

import pytest
import torch

from shared_tmu.errors import InputError
from shared_tmu.programs.flags import (
    MAX_BATCH,
    FlagParser,
    choose_device,
    images_per_call,
    named_path,
    natural,
)


def test_devices_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")


UNKNOWN = (
    "meta", "hpu", "privateuseone", "mps", "mps:0", "xla", "xpu", "vulkan", "garbage", "", "cpu:3", "CPU",
    "cuda:", "cuda:-1", "cuda:1.5", "cuda:\u0663", "cuda:99999999999", "cuda:0\n", "x" * 9999,
)  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_devices_that_are_not_supported(name: str) -> None:
    with pytest.raises(
        InputError, match=r"cannot be used here \(it is not supported\): use cpu, cuda"
    ) as error:
        choose_device(name)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_missing_cuda_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=rf"--device {name} cannot be used here .*try --device cpu"):
        choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    if name == "cuda:7":
        with pytest.raises(InputError, match="there are 2, from cuda:0 on"):
            choose_device(name)


@pytest.mark.parametrize(
    "text", ["1000000000", str(MAX_BATCH + 1), "0", "-1", "1.5", "x", "", "9" * 5000, "\u00b2"]
)
def test_batches_that_no_machine_survives(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as error:
        images_per_call(text)
    assert len(str(error.value)) < 200


def test_numbers() -> None:
    assert images_per_call(str(MAX_BATCH)) == MAX_BATCH
    assert natural("0") == 0


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_path_is_not_the_current_folder(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is empty: name a file or folder"):
        named_path(text)
    assert named_path(".") == Path()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--metod", "tome"], "unrecognized arguments: --metod tome (did you mean --method?)"),
        (["--metod=tome"], "(did you mean --method?)"),
        (["{folder}"], "(pictures are given by --img_folder DIR, a video by --video FILE)"),
        (["--zzz"], "unrecognized arguments: --zzz\n"),
        (["nowhere"], "unrecognized arguments: nowhere\n"),
    ],
)
def test_unknown_flags_name_similar_ones(
    words: list[str], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = FlagParser(for_files="pictures are given by --img_folder DIR, a video by --video FILE")
    for flag in ("--method", "--img_folder", "--video"):
        parser.add_argument(flag)
    with pytest.raises(SystemExit):
        parser.parse_args([word.format(folder=tmp_path) for word in words])
    assert hint in capsys.readouterr().err
    assert parser.parse_args(["--method", "tome"]).method == "tome"
    with pytest.raises(SystemExit):
        FlagParser().parse_args([str(tmp_path)])
    assert capsys.readouterr().err.endswith(f"unrecognized arguments: {tmp_path}\n")
