"""forecast.py: power laws, what they predict, and how files are added."""

import json
from pathlib import Path

import forecast
import pytest
import update_tables
from bundled import BUNDLED, Bundled, aims_of
from hypothesis import given
from hypothesis import strategies as st

AIMS = {"pa_mpvpe_mm": 6.0}


def line(pictures: int, error: float, name: str = "HaMeR", **more: float) -> dict[str, object]:
    sha = f"{pictures:064d}"
    return {"model": name, "pictures": pictures, "pa_mpvpe_mm": error, "checkpoint_sha256": sha, **more}


@given(st.floats(1.0, 1e4), st.floats(0.05, 1.5), st.floats(0.1, 0.9))
def test_a_power_law_is_found_and_carried_on(factor: float, exponent: float, share: float) -> None:
    points = [(n, factor * n**-exponent) for n in (1e3, 4e4, 7e5)]
    power = forecast.fit_power(points)
    assert power.exponent == pytest.approx(exponent, rel=1e-6)
    aim = share * points[-1][1]
    assert power.factor * power.pictures_for(aim) ** -power.exponent == pytest.approx(aim, rel=1e-6)


def test_one_number_of_pictures_predicts_nothing() -> None:
    with pytest.raises(ValueError, match="two files"):
        forecast.fit_power([(1000, 9.0), (1000, 8.0)])
    assert "one file is not enough for a prediction" in forecast.show_history([line(1000, 9.0)], AIMS)


def test_the_page_shows_files_and_forecast(tmp_path: Path) -> None:
    lines = [line(1_000_000, 12.0), line(4_000_000, 8.0), line(250_000, 24.0)]
    (tmp_path / "hamer_history.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    page = tmp_path / "README.md"
    page.write_text("<!-- results:begin hamer_history.jsonl -->\n<!-- results:end -->\n")
    assert update_tables.main([str(page)]) == 0
    text = page.read_text()
    assert [row.split("|")[2].strip() for row in text.splitlines() if row.startswith("| 0")] == [
        "250,000", "1,000,000", "4,000,000",
    ]  # fmt: skip
    # Between the last two the error falls to 2/3 while pictures grow fourfold: 6 mm is another factor of
    # 4 ** (log(4/3) / log(3/2)) = 2.67 away.
    assert "0.29 by the last two (6 mm after about 11 million pictures)" in text
    assert "falls with this power of the pictures seen: 0.40 by all files (6 mm" in text


def test_an_error_that_does_not_fall_meets_no_aim() -> None:
    told = forecast.predict([line(1000, 22.7), line(9000, 22.69)], "pa_mpvpe_mm", 12.0)
    assert "not predictable" in told
    assert forecast.rounded(1234) == "1,200"
    assert forecast.rounded(2.44e9) == "2.4 billion"


def test_aims_are_those_of_the_model() -> None:
    assert aims_of("SMPLest-X") == {"pa_mpvpe_mm": 45.0, "pa_mpvpe_hand_mm": 12.0}
    assert aims_of("WiLoR") == AIMS


def test_files_are_measured_and_added_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Bundled("Toy", tmp_path, "toy", "toy.safetensors", "synthhand")
    monkeypatch.setitem(BUNDLED, "toy", model)
    monkeypatch.setattr("bundled.REPOSITORY", tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "weights").mkdir()
    record = {"total": {"images_seen": 500, "images_seen_before": 1000}}
    (tmp_path / "weights" / "toy.training.json").write_text(json.dumps(record))
    asked = []

    def measure(
        model: Bundled, schedules: str, dataset: str, flags: list[str]
    ) -> dict[str, dict[str, object]]:
        asked.append((schedules, flags))
        return {"off": line(0, 10.0 - len(asked)) | {"checkpoint_sha256": "b" if flags else "a", "n": 9}}

    monkeypatch.setattr(forecast, "measure", measure)
    earlier = ["--checkpoint", str(tmp_path / "old.safetensors"), "--pictures", "1000"]
    for more in ([], earlier, []):
        assert forecast.main(["--model", "toy", "--add", *more]) == 0
    assert asked[1] == ("off", ["--checkpoint", str(tmp_path / "old.safetensors")])
    found = forecast.read_history(model.history)
    assert [(one["pictures"], one["pa_mpvpe_mm"]) for one in found] == [(1000, 8.0), (1500, 7.0)]
    monkeypatch.setattr(forecast, "measure", lambda *_: {})
    assert forecast.main(["--model", "toy", "--add"]) == 1


@pytest.mark.parametrize("flags", [["--checkpoint", "other.safetensors"], ["--pictures", "5"]])
def test_flags_of_add_are_refused_without_it(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        forecast.main(["--model", "hamer", *flags])
    assert "--checkpoint and --pictures say what --add measures" in capsys.readouterr().err


def test_a_record_that_does_not_know_its_parent(tmp_path: Path) -> None:
    record = {"total": {"images_seen": 5}, "parent": {"file": "old.safetensors"}}
    with pytest.raises(ValueError, match=r"training record does not give the number of pictures"):
        forecast.pictures_of(record)
    with pytest.raises(ValueError, match=r"give --pictures"):
        forecast.pictures_of({})


def test_another_file_is_counted_by_its_own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Bundled("Toy", tmp_path, "toy", "toy.safetensors", "synthhand")
    monkeypatch.setattr("bundled.REPOSITORY", tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "weights").mkdir()
    own = {"total": {"images_seen": 900, "images_seen_before": 100}}
    (tmp_path / "weights" / "toy.training.json").write_text(json.dumps(own))
    other = {"total": {"images_seen": 5000, "images_seen_before": 0}}
    (tmp_path / "other.training.json").write_text(json.dumps(other))
    found = {"off": line(0, 10.0) | {"checkpoint_sha256": "b", "n": 9}}
    monkeypatch.setattr(forecast, "measure", lambda *_: found)
    assert forecast.add(model, tmp_path / "other.safetensors", None) == 0
    assert [one["pictures"] for one in forecast.read_history(model.history)] == [5000]
    with pytest.raises(ValueError, match=r"no training record .*third\.training\.json: give --pictures"):
        forecast.add(model, tmp_path / "third.safetensors", None)
    with pytest.raises(ValueError, match="--pictures 0 was given"):
        forecast.add(model, None, 0)
