"""The demo's parts: options, names of results, reading ahead, batches, records, meshes."""

import re
from dataclasses import astuple

import numpy as np
import pytest
import torch

from shared_tmu.demo import build_parser, parse_options
from shared_tmu.demo.subjects import PEOPLE
from shared_tmu.detect import PersonBox
from shared_tmu.detect.vitdet import required_files
from shared_tmu.errors import InputError, MethodError, ScheduleError
from shared_tmu.runtime.precision import choose_dtype


def test_a_folder_of_detectors_that_is_named_is_there_and_of_use(program, tmp_path, caplog):
    missing, file, folder = tmp_path / "missing", tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    for place, fault in ((missing, "does not exist"), (file, "is no folder")):
        with pytest.raises(InputError, match=f"--detector_dir {place} {fault}"):
            parse_options(program, ["--detector_dir", str(place)])
    parse_options(program, [])
    (folder / "other.txt").touch()
    assert not caplog.records
    assert parse_options(program, ["--detector_dir", str(folder)]).detector_dir == folder
    assert "has no effect: it holds none of detector.pt, model_final_f05665.pkl" in caplog.text
    caplog.clear()
    (folder / "mediapipe-0.10.21-cp312.whl").touch()
    parse_options(program, ["--detector_dir", str(folder)])
    assert not caplog.records


def test_a_detector_of_people_that_would_not_run_is_refused(program, tmp_path):
    folder = ["--detector_dir", str(tmp_path), "--body_detector", "regnety"]
    for flags, fault in (
        (["--detector", "mediapipe"], "--detector is mediapipe"),
        (["--boxes", "boxes.json"], "boxes are given"),
        ([], r"auto does not take vitdet: .*model_final_ef3a80\.pkl does not exist"),
    ):
        with pytest.raises(InputError, match=f"--body_detector regnety .* but {fault}"):
            parse_options(program, [*folder, *flags])
    parse_options(program, [*folder, "--detector", "vitdet"])
    parse_options(program, ["--detector", "mediapipe", "--body_detector", "vitdet"])
    for path in required_files(tmp_path, "regnety"):
        path.touch()
    parse_options(program, folder)


def test_defaults_are_those_of_the_published_demo(program):
    options = parse_options(program, [])
    assert (str(options.img_folder), str(options.out_folder)) == ("images", "out_demo")
    assert (options.side_view, options.full_frame, options.save_mesh) == (False, True, False)
    assert (options.batch_size, options.rescale_factor, options.body_detector) == (8, None, "vitdet")
    assert options.file_type == ("*.jpg", "*.png")
    assert (str(options.run.schedule), options.run.method, options.run.unmerge) == ("5x20", "tome", True)
    text = re.sub(r"\s+", " ", build_parser(program).format_help())
    for flag in (
        "--checkpoint",
        "--boxes",
        "--detector",
        "--focal",
        "--save_params",
        "--compare",
        "--tokens",
        "--resume",
    ):
        assert flag in text


@pytest.mark.parametrize(
    ("flags", "error"),
    [(["--r", "8y4"], ScheduleError), (["--method", "nothing"], MethodError),
     (["--device", "cuda:99"], InputError),
     (["--device", "abacus"], InputError), (["--compare", "--r", "off"], InputError),
     (["--tokens", "--r", "off"], InputError), (["--batch_size", "0"], SystemExit),
     (["--focal", "-3"], SystemExit),
     (["--rescale_factor", "nan"], SystemExit), (["--detector", "eyes"], SystemExit)],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(program, flags, error):
    with pytest.raises(error):
        parse_options(program, flags)


@pytest.mark.parametrize("name", ["auto", "float32", "bfloat16"])
def test_dtypes_are_chosen_as_everywhere(program, name):
    options = parse_options(program, ["--dtype", name, "--device", "cpu"])
    assert (options.dtype, options.dtype_reason) == astuple(choose_dtype(name, torch.device("cpu")))


@pytest.mark.parametrize(
    ("box", "inside"),
    [((-80.0, 20.0, 60.0, 90.0), (0.0, 20.0, 60.0, 90.0)),
     ((10.0, -30.0, 90.0, 50.0), (10.0, 0.0, 90.0, 50.0)),
     ((10.0, 20.0, 300.0, 250.0), (10.0, 20.0, 100.0, 100.0))],
)  # fmt: skip
def test_a_person_partly_outside_of_the_picture_is_cut_not_moved(box, inside):
    image = np.zeros((100, 100, 3), np.uint8)
    crops = [PEOPLE.crop(image, PersonBox(one), 1.2, (64, 48)).crop_xywh for one in (box, inside)]
    np.testing.assert_array_equal(*crops)
