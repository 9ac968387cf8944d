"""remeasure.py: all that weights decide, in order, once for the same weights, going on after what fails."""

import json
import re
from dataclasses import replace

import pytest
import remeasure
import remeasuring
from bundled import BUNDLED, REPOSITORY
from pages import PAGES
from remeasuring import Step, chosen, is_committed, steps
from safetensors.numpy import save_file

from shared_tmu.errors import InputError


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model folder with weights of its own, whose steps write what they did to a file."""
    one = replace(BUNDLED["hamer"], folder=tmp_path / "one_TMU", stem="one", weights="one_thin.safetensors")
    one.checkpoint.parent.mkdir(parents=True)
    one.checkpoint.write_bytes(b"first")
    for place in (remeasure, remeasuring):
        monkeypatch.setattr(place, "REPOSITORY", tmp_path)
    monkeypatch.setitem(BUNDLED, "one", one)
    monkeypatch.setattr(remeasure, "git_status", lambda: "")
    code = "import pathlib, sys; name, status = sys.argv[1:]; "
    code += "open('did.txt', 'a').write(name + ' '); sys.exit(int(pathlib.Path(status).exists()))"
    made = [
        Step(
            name, (("-c", code, name, f"fail-{name}"),), writes_file=name == "probe", is_timed=name == "times"
        )
        for name in ("probe", "masks", "times", "cards")
    ]
    monkeypatch.setattr(remeasure, "steps", lambda *_: made)
    return one


def did(tmp_path):
    path = tmp_path / "did.txt"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def test_steps_run_in_their_order_and_once_for_the_same_weights(model, tmp_path):
    assert remeasure.main(["--model", "one"]) == 0
    assert did(tmp_path) == ["probe", "masks", "cards"]
    assert remeasure.main(["--model", "one", "--timed"]) == 0
    assert did(tmp_path) == ["times"]
    assert remeasure.main(["--model", "one", "--fresh", "--only", "masks,times"]) == 0
    assert did(tmp_path) == ["masks", "times"]
    model.checkpoint.write_bytes(b"second")
    assert remeasure.main(["--model", "one"]) == 0
    assert did(tmp_path) == ["probe", "masks", "cards"]


def test_what_fails_is_listed_and_alone_is_tried_again(model, tmp_path, capsys):
    (tmp_path / "fail-masks").touch()
    assert remeasure.main(["--model", "one"]) == 1
    assert did(tmp_path) == ["probe", "masks", "cards"]
    assert "failed: masks." in capsys.readouterr().err
    (tmp_path / "fail-masks").unlink()
    assert remeasure.main(["--model", "one"]) == 0
    assert did(tmp_path) == ["masks"]


def test_nothing_is_measured_without_the_files_or_before_they_are_committed(model, tmp_path, monkeypatch):
    (tmp_path / "fail-probe").touch()
    assert remeasure.main(["--model", "one"]) == 1
    assert did(tmp_path) == ["probe"]
    (tmp_path / "fail-probe").unlink()
    monkeypatch.setattr(remeasure, "git_status", lambda: " M one_TMU/weights/one_thin.probe.safetensors\n")
    with pytest.raises(InputError, match="commit these files"):
        remeasure.main(["--model", "one"])
    assert did(tmp_path) == ["probe"]


def test_a_damaged_note_and_an_unknown_step(model, tmp_path, capsys):
    note = model.folder / "results" / "one-remeasured.json"
    note.parent.mkdir()
    note.write_text("{")
    assert remeasure.main(["--model", "one", "--list"]) == 0
    assert len(re.findall(r"^to do {3}", capsys.readouterr().out, re.MULTILINE)) == 3
    assert did(tmp_path) == []
    with pytest.raises(InputError, match="no such step; use some of probe, masks"):
        remeasure.main(["--model", "one", "--only", "mask"])


def test_a_new_file_beside_the_weights_is_measured_again(model, tmp_path):
    assert remeasure.main(["--model", "one"]) == 0
    did(tmp_path)
    model.checkpoint.with_name("one_thin.decoder.safetensors").write_bytes(b"another decoder")
    assert remeasure.main(["--model", "one"]) == 0
    assert did(tmp_path) == ["masks", "cards"]


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--only", ""], "--only is empty"), (["--photos", "nowhere"], "nowhere is no folder")],
)
def test_a_wrong_command_line_does_nothing(model, tmp_path, words, said):
    with pytest.raises(InputError, match=said):
        remeasure.main(["--model", "one", *words])
    assert did(tmp_path) == []


def test_photographs_are_refused_for_a_model_that_is_not_measured_on_them(tmp_path):
    with pytest.raises(InputError, match="SMPLest-X is not measured on photographs"):
        remeasure.main(["--model", "smplest-x", "--photos", str(tmp_path), "--list"])


def test_without_a_checkout_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(remeasure, "REPOSITORY", tmp_path)
    with pytest.raises(InputError, match="measure in a git checkout"):
        remeasure.git_status()


def test_layers_are_measured_within_the_bounds_of_their_page():
    page = (REPOSITORY / "SMPLest-X_TMU" / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    step = next(step for step in steps("smplest-x") if step.name == "layers")
    assert f"`{step}`".replace(" scripts/", " ../scripts/") in page  # it is run from the folder of the page


def test_files_for_the_old_weights_come_first_with_their_settings(tmp_path, monkeypatch):
    one = replace(BUNDLED["hamer"], folder=tmp_path / "one_TMU", weights="one_thin.safetensors")
    one.checkpoint.parent.mkdir(parents=True)
    recipe = {"r": "10x16", "images": 1600, "lr": None, "pa_mpvpe_mm": 15.6}
    save_file({}, one.checkpoint)
    for part, facts in (("probe", {}), ("decoder", {}), ("dtem", {"recipe": json.dumps(recipe)})):
        save_file({}, one.checkpoint.with_name(f"one_thin.{part}.safetensors"), facts)
    found = steps("one", tmp_path / "my photos", one)
    first = [re.sub(r"-[0-9a-f]{8} ", "-HASH ", str(step)) for step in found if step.writes_file]
    assert first == [
        "cd one_TMU && python train.py --config-name motion out=outputs/decoder-HASH export_to=weights",
        "cd one_TMU && python train.py --config-name learned method=dtem r=10x16 images=1600 "
        "out=outputs/dtem-HASH export_to=weights",
        "python -m shared_tmu.training.probe --model one",
    ]
    assert all(step.writes_file for step in found[:3])
    assert not any(step.writes_file for step in found[3:])
    assert f"--photos '{tmp_path}/my photos'" in str(next(step for step in found if step.name == "masks"))


@pytest.mark.parametrize("name", BUNDLED)
def test_every_program_that_measures_a_model_is_among_the_steps(name):
    told = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(rf"scripts/(\w+)\.py\s+--model {name}\b", told))
    ours = {
        word.split("/")[-1][:-3] for step in steps(name) for command in step.commands for word in command[:1]
    }
    by_hand = {"merge_layers", "tune_filters", "remeasure", "train_probe"}
    assert named - by_hand <= ours, "a page names a program that remeasure.py leaves out"
    for step in steps(name):
        for program, *_ in step.commands:
            assert program == "-m" or (REPOSITORY / step.folder / program).resolve().exists()


def test_timed_steps_are_left_out_unless_asked_for():
    every = steps("hamer")
    assert {one.name for one in every} - {one.name for one in chosen(every, None, timed=False)} == {
        "bundled", "video-times", "together-times", "methods-times"
    }  # fmt: skip
    assert [one.name for one in chosen(every, ["cards", "masks"], timed=True)] == ["masks", "cards"]


def test_only_files_beside_the_weights_have_to_be_committed():
    model = BUNDLED["hamer"]
    assert is_committed(model, " M assets/hamer_masks.jsonl\n?? notes.txt\n")
    assert not is_committed(model, "?? HaMeR_TMU/weights/hamer_thin.dtem.safetensors\n")
    assert not is_committed(model, "R  a.safetensors -> HaMeR_TMU/weights/b.safetensors\n")
