"""train_on.py --ship: what is refused, what is replaced, and what it says has to be made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_eval
import train_on
from bundled import BUNDLED
from cards import show_training
from forecast import pictures_of, read_history
from test_train_on import go
from toy_training_on import HERE, make_toys
from training_parts import shipping
from training_parts.keeping import read_state
from training_parts.records import merged_record
from training_parts.running import places
from training_parts.shipping import install, refusal

from shared_tmu.errors import InputError
from shared_tmu.evaluation.comparing import Difference


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_toys(tmp_path / "toys", monkeypatch)


def difference(a: float, b: float, verdict: str, name: str = "pa_mpvpe_mm") -> Difference:
    return Difference(name, a, b, b - a, b - a - 0.1, b - a + 0.1, 1000, 1000, verdict)


@pytest.mark.parametrize(
    ("on_set", "on_photos", "why"),
    [
        (difference(10, 9.75, "better"), [], "2.5 % better, and at least 3 %"),
        (difference(10, 12, "worse"), [], "-20.0 % better"),
        (difference(10, 9.6, "within noise"), [], "within noise"),
        (difference(10, 9, "better"), [difference(0.1, 0.2, "worse", "error_box")], "its error_box is worse"),
        (difference(10, 9, "better"), [difference(0.1, 0.1, "unknown", "error_box")], "error_box is unknown"),
        (difference(10, 9, "better"), [difference(0.1, 0.2, "within noise", "error_box")], None),
        (difference(10, 9.7, "better"), [], None),
    ],
)  # fmt: skip
def test_only_better_weights_are_shipped(on_set, on_photos, why):
    found = refusal(on_set, on_photos)
    assert found is None if why is None else why in found


@pytest.fixture
def pretend(state: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets toys' eval.py find some errors for new weights, by set; it runs in this process."""

    def errors(**found: float) -> None:
        (state.parent / "errors").write_text(json.dumps(found))
        monkeypatch.setattr(shipping, "evaluate", toy_eval.main)

    return errors


def test_both_files_are_measured_by_eval_py(state, tmp_path):
    (state.parent / "errors").write_text(json.dumps({"synthhand": 9.0}))
    model = BUNDLED["one"]
    shutil.copyfile(HERE / "toy_eval.py", model.folder / "eval.py")
    measured = shipping.Measured(places(state)["one"], tmp_path / "found", tmp_path / "new.safetensors")
    (found,) = measured.compare("synthhand", ("pa_mpvpe_mm",))
    assert (found.minus, found.verdict) == (pytest.approx(-1.0), "better")
    assert measured.line("synthhand")["checkpoint_sha256"] == str(tmp_path / "new.safetensors")


def test_better_weights_replace_the_bundled_ones_with_their_record(state, pretend, tmp_path, capsys):
    go(state, rounds=4)
    pretend(synthhand=9.0, photos=10.0)
    weights = BUNDLED["one"].checkpoint
    old = {path.name: path.read_bytes() for path in weights.parent.iterdir()}
    assert train_on.main(["--state", str(state), "--ship", "one", "--photos", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "interval -1.0000 to -1.0000, n 40: better" in out
    assert ": equal" in out
    assert f"remeasure.py --model one --photos {tmp_path}" in out
    found = {path.name: path.read_bytes() for path in weights.parent.iterdir()}
    assert found["one_thin.safetensors"].startswith(b"round-0002 from ")
    assert found["one_thin.yaml"] == b"sizes: new\n"
    assert found["one_thin.1.training.json"] == old["one_thin.training.json"]
    assert found["one_thin.1.curve.csv"] == old["one_thin.curve.csv"]
    assert not [name for name in found if name.startswith(".")]
    record = json.loads(found["one_thin.training.json"])
    assert [stage["name"] for stage in record["stages"]] == ["again-1", "deep-1", "again-2", "deep-2"]
    model = read_state(state).models["one"]  # type: ignore[union-attr]
    assert pictures_of(record) == model.pictures
    (line,) = read_history(BUNDLED["one"].history)
    assert (line["pictures"], line["n"]) == (model.pictures, 40)
    assert str(tmp_path) not in json.dumps(record)


def test_killed_before_the_state_is_written_shipping_is_finished_the_next_time(
    state, pretend, tmp_path, monkeypatch
):
    go(state, rounds=2)
    pretend(synthhand=9.0, photos=10.0)
    words = ["--state", str(state), "--ship", "one", "--photos", str(tmp_path)]
    with monkeypatch.context() as patches:
        patches.setattr(shipping, "write_state", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_on.main(words)
    assert read_state(state).models["one"].rounds == [1]
    kept = {path.name: path.read_bytes() for path in BUNDLED["one"].checkpoint.parent.iterdir()}
    monkeypatch.setattr(shipping, "evaluate", lambda *_: pytest.fail("it was measured"))
    assert train_on.main(words) == 0
    found = read_state(state).models["one"]
    assert (found.rounds, found.since) == ([], found.seen)
    assert {path.name: path.read_bytes() for path in BUNDLED["one"].checkpoint.parent.iterdir()} == kept


def test_without_its_weights_a_round_is_not_shipped(state, tmp_path):
    go(state)
    places(state)["one"].export(1).unlink()
    with pytest.raises(InputError, match="is missing, which a finished round has left"):
        train_on.main(["--state", str(state), "--ship", "one", "--photos", str(tmp_path)])


def test_after_shipping_training_goes_on_from_the_shipped_file(state, pretend, tmp_path):
    go(state, rounds=2)
    pretend(synthhand=9.0, photos=10.0)
    before = read_state(state).models["one"]  # type: ignore[union-attr]
    train_on.main(["--state", str(state), "--ship", "one", "--photos", str(tmp_path)])
    again = go(state, rounds=2).state.models["one"]
    assert again.rounds == [2]
    assert again.pictures > before.pictures
    assert again.last_round == 2
    assert train_on.main(["--state", str(state), "--ship", "one", "--photos", str(tmp_path)]) == 0
    folder = BUNDLED["one"].checkpoint.parent
    assert (folder / "one_thin.2.training.json").exists()
    record = json.loads((folder / "one_thin.training.json").read_text())
    assert [stage["name"] for stage in record["stages"]] == ["again", "deep"]
    assert pictures_of(record) == again.pictures


@pytest.mark.parametrize("errors", [{"synthhand": 9.9, "photos": 9.0}, {"synthhand": 9.0, "photos": 11.0}])
def test_weights_that_are_not_better_change_nothing(state, pretend, tmp_path, errors):
    go(state)
    pretend(**errors)
    folder = BUNDLED["one"].checkpoint.parent
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match="one is not shipped"):
        train_on.main(["--state", str(state), "--ship", "one", "--photos", str(tmp_path)])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == old


def test_what_cannot_be_compared_is_not_shipped(state):
    with pytest.raises(InputError, match="no finished round of one"):
        train_on.main(["--state", str(state), "--ship", "one"])
    go(state)
    with pytest.raises(InputError, match="--photos"):
        train_on.main(["--state", str(state), "--ship", "one"])


def test_an_interrupted_shipping_is_repeated_without_another_copy(state):
    go(state)
    model = BUNDLED["one"]
    export = state / "one" / "round-0001" / "export" / "one_thin.safetensors"
    install(model, [export], 10_001)
    install(model, [export], 10_001)
    assert len(list(model.checkpoint.parent.glob("one_thin.*.training.json"))) == 1


def test_a_card_shows_a_record_of_several_rounds(state):
    go(state, rounds=3)
    paths = sorted((state / "one").glob("*/export/one_thin.training.json"))
    record = merged_record([json.loads(path.read_text()) for path in paths], 5000)
    assert record["total"]["images_seen"] == 1400
    assert record["total"]["scenes"] == max(stage["count"] for stage in record["stages"])
    assert [one["commit"] for one in record["rounds"]] == ["d", "d"]
    text = show_training(record)
    assert "| deep-2 | 2 | 350 |" in text
    assert "command: `python scripts/train_on.py`" in text
