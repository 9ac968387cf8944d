"""What makes results anew, what is kept, and what is refused."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from freihand_folder import write_freihand
from toy_hand_model import ToyHand, toy_program

from shared_tmu.errors import InputError, MethodError, ScheduleError
from shared_tmu.evaluation import evaluate, parse_settings
from shared_tmu.evaluation.store import require_folder
from shared_tmu.programs.results import read_records
from shared_tmu.runtime.precision import choose_dtype


def test_merge_only_with_counts_per_image_needs_batches_of_one(run, caplog):
    flags = ("--r", "threshold:0.9x2", "--method", "ltmp", "--no-unmerge", "--rounds", "0")
    assert run(*flags)[0] == 1
    assert "in batches of 3 the head would read padding: use --batch_size 1" in caplog.text
    assert run(*flags, "--batch_size", "1")[0] == 0


def test_worker_processes_give_the_same(run):
    _, (alone,), _ = run("--r", "3x2", "--rounds", "0")
    _, (_, helped), _ = run("--r", "3x2", "--rounds", "0", "--fresh", "--num_workers", "2")
    assert alone["scores_txt"] == helped["scores_txt"]


def test_controls(run):
    status, records, _ = run("--r", "off,8x2", "--method", "tome,random", "--no-unmerge")
    assert status == 0
    assert [(r["label"], r["unmerge"]) for r in records] == [
        ("off", True),
        ("8x2-merge-only", False),
        ("random-8x2-merge-only", False),
    ]


def test_finished_schedules_are_not_computed_again(run, capsys):
    run("--r", "off,3x2")
    again = ToyHand()
    status, records, _ = run("--r", "off,3x2", model=again)
    assert (status, again.calls, len(records)) == (0, 0, 2)
    assert "2 of 2 rows are from an earlier run" in capsys.readouterr().out
    _, records, _ = run("--r", "off,3x2,4x2", model=again)
    assert [r["schedule"] for r in records] == ["off", "3x2", "4x2"]
    assert again.calls > 0


@pytest.mark.parametrize(
    "flags", [["--tips", "freihand"], ["--limit", "4"], ["--dtype", "bfloat16"], ["--fresh"]]
)
def test_other_settings_are_other_results(run, flags):
    run("--r", "3x2")
    _, records, model = run("--r", "3x2", *flags)
    assert len(records) == 2
    assert model.calls > 0


def test_another_dtype_says_how_far_it_is_from_float32(run, caplog):
    with caplog.at_level("INFO"):
        _, records, _ = run("--r", "off,3x2", "--dtype", "bfloat16")
    for record in records:
        error = record["dtype_error"]
        assert 0 < error["mean_mm"] <= error["max_mm"]
        assert error["samples"] == 3
        assert f"{record['schedule']}: bfloat16 instead of float32: {error['mean_mm']:.3f} mm" in caplog.text
    _, records, _ = run("--r", "off")
    assert "dtype_error" not in records[-1]


def test_auto_is_what_the_device_computes_in(tmp_path):
    program = toy_program(tmp_path, ToyHand())
    settings = parse_settings(program, ["--dtype", "auto", "--device", "cpu"])
    assert settings.dtype == choose_dtype("auto", torch.device("cpu")).dtype


def test_other_weights_are_other_results(run):
    run("--r", "3x2")
    model = ToyHand()
    with torch.no_grad():
        model.backbone.blocks[0].mlp[0].weight[0, 0] += 1
    _, records, _ = run("--r", "3x2", model=model)
    assert len(records) == 2
    assert records[0]["weights_sha256"] != records[1]["weights_sha256"]


class Stops(ToyHand):
    """Fails at the n-th call, as a crash would."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def forward(self, batch):
        if self.calls + 1 == self.at:
            raise KeyboardInterrupt
        return super().forward(batch)


def test_an_interrupted_run_goes_on_and_gives_the_same(run, results, monkeypatch):
    monkeypatch.setattr("shared_tmu.evaluation.store._IMAGES_PER_CHUNK", 3)
    status, records, _ = run("--r", "off,3x2", model=Stops(at=4))
    assert (status, records) == (130, [])
    assert len(list(results.rglob("chunk-*.npz"))) == 2  # the first chunk, for both schedules
    plain = ToyHand()
    status, resumed, _ = run("--r", "off,3x2", "--rounds", "0", model=plain)
    assert status == 0
    assert plain.calls == 2 * 2 + 2  # two chunks left for each schedule, and the count of tokens
    assert not list(results.rglob("chunk-*.npz"))
    _, records, _ = run("--r", "off,3x2", "--rounds", "0", "--fresh")
    for before, after in zip(resumed, records[2:], strict=True):
        assert before["scores_txt"] == after["scores_txt"]


def test_a_damaged_chunk_is_computed_again(run, results, monkeypatch):
    monkeypatch.setattr("shared_tmu.evaluation.store._IMAGES_PER_CHUNK", 3)
    run("--r", "3x2", model=Stops(at=3))
    first, second = sorted(results.rglob("chunk-*.npz"))
    first.write_bytes(first.read_bytes()[:100])
    second.write_bytes(b"")
    status, records, _ = run("--r", "3x2")
    assert (status, len(records)) == (0, 1)


def number_of_a_dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_killed_in_the_middle_and_resumed(tmp_path, data_dir):
    script = textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        import shared_tmu.evaluation.store as store
        from pathlib import Path
        from toy_hand_model import ToyHand, toy_program
        from shared_tmu.evaluation import main
        store._IMAGES_PER_CHUNK = 3
        class Dies(ToyHand):
            def forward(self, batch):
                if self.calls == 3 and "die" in sys.argv:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().forward(batch)
        flags = "--dataset freihand --r off,3x2 --batch_size 3 --rounds 1 --device cpu".split()
        sys.exit(main(toy_program(Path({str(tmp_path / "toy")!r}), Dies()), [*flags, "--data_dir",
        {str(data_dir)!r}]))
    """)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "toy" / "results" / "toy-freihand"
    died = subprocess.run(
        [sys.executable, "-c", script, "die"], env=environment, capture_output=True, check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert not (tmp_path / "toy" / "results" / "toy-freihand.jsonl").exists()
    (run_folder,) = folder.glob("off-*")
    (run_folder / f".pred.{number_of_a_dead_process()}.part.json").write_text("[[")
    again = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr.decode()
    assert len(read_records(tmp_path / "toy" / "results" / "toy-freihand.jsonl")) == 2
    left = {path.name for path in folder.rglob("*") if path.is_file()}
    assert left == {"per_sample.parquet", "pred.json", "scores.json", "scores.txt"}


def test_a_bad_picture_fails_the_set_by_name_and_keeps_the_rest(run, tmp_path, results, caplog, monkeypatch):
    monkeypatch.setattr("shared_tmu.evaluation.store._IMAGES_PER_CHUNK", 3)
    root = write_freihand(tmp_path / "data" / "freihand", count=7, size_px=56)
    bad = root / "evaluation" / "rgb" / "00000004.jpg"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:200])
    status, records, _ = run("--r", "off,3x2", data_dir=root)
    assert (status, records) == (1, [])
    assert "1 of 7 pictures of freihand cannot be read" in caplog.text
    assert "00000004.jpg" in caplog.text
    assert len(list(results.rglob("chunk-*.npz"))) == 4  # the two good chunks, for both schedules
    bad.write_bytes(whole)
    model = ToyHand()
    status, records, _ = run("--r", "off,3x2", "--rounds", "0", data_dir=root, model=model)
    assert (status, len(records), model.calls) == (0, 2, 2 + 2)


class Explodes(ToyHand):
    def forward(self, batch):
        output = super().forward(batch)
        if any(type(m).__name__ == "MergedBlocks" for m in self.modules()):
            output["pred_vertices"] = output["pred_vertices"] * float("nan")
        return output


def test_a_schedule_that_gives_nonsense_is_reported_and_the_others_are_kept(run, caplog):
    status, records, _ = run("--r", "3x2,off", model=Explodes())
    assert status == 1
    assert [r["schedule"] for r in records] == ["off"]
    assert "3x2 on freihand: 7 of 7 samples have predicted vertices that are not finite" in caplog.text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--r", "off,2x40"], "ScheduleError: schedule '2x40' names 40 layers, this trunk has 4"),
        (["--r", "off,8y4"], "ScheduleError: cannot read '8y4'"),
        (["--r", ","], "InputError: --r is empty"),
        (["--method", "magic"], "MethodError: there is no method 'magic'"),
        (["--dataset", "freihandd"], "InputError: there is no dataset 'freihandd'"),
        (["--device", "cuda:99"], "InputError: --device cuda:99 cannot be used here"),
        (["--device", "banana"], "InputError: --device banana cannot be used here"),
        (["--data_dir", "/nowhere"], "MissingAssetError: dataset 'freihand' was asked for"),
    ],
)
def test_what_is_refused_before_any_work(run, results, caplog, flags, message):
    model = ToyHand()
    status, records, _ = run(*flags, model=model)
    assert (status, records, model.calls) == (1, [], 0)
    assert message in caplog.text
    assert not list(results.rglob("chunk-*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_results_that_cannot_be_written(run, tmp_path, caplog):
    (tmp_path / "shut").mkdir(mode=0o500)
    assert run("--results", str(tmp_path / "shut" / "in"))[0] == 1
    assert "choose another folder with --results" in caplog.text


def test_results_in_the_place_of_a_file(run, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert run("--results", str(tmp_path / "file"))[0] == 1
    assert "results cannot be written to" in caplog.text


@pytest.mark.parametrize(
    "flags", [["--batch_size", "0"], ["--limit", "-1"], ["--rounds", "x"], ["--dtype", "int8"], ["--what"]]
)
def test_wrong_values_are_argparse_errors(tmp_path, flags):
    with pytest.raises(SystemExit) as caught:
        parse_settings(toy_program(tmp_path), flags)
    assert caught.value.code == 2


def test_defaults_and_lists(tmp_path):
    program = toy_program(tmp_path)
    settings = parse_settings(program, [])
    assert settings.datasets == ("synthhand",)
    assert [r.label for r in settings.runs] == ["off", "5x20"]
    assert settings.results == tmp_path / "results"
    many = parse_settings(program, ["--dataset", "FREIHAND-VAL,synthhand", "--r", "off, 5x20,off,5X20,8@-1"])
    assert many.datasets == ("freihand", "synthhand")
    assert [str(r.schedule) for r in many.runs] == ["off", "5x20", "8@-1"]
    with pytest.raises(ScheduleError):
        parse_settings(program, ["--r", "-5"])
    with pytest.raises(MethodError):
        parse_settings(program, ["--method", "tom"])
    with pytest.raises(InputError):
        parse_settings(program, ["--method", " "])


def test_no_rounds_no_speed(run, capsys):
    _, (record,), _ = run("--r", "off", "--rounds", "0")
    assert record["images_per_s"] is None
    assert record["speedup"] is None
    assert "  -" in capsys.readouterr().out


def test_the_model_is_given_back_unpatched(run):
    model = ToyHand()
    before = model.backbone.blocks
    run("--r", "off,3x2", model=model)
    assert model.backbone.blocks is before


def test_evaluate_is_a_function_too(tmp_path, data_dir):
    program = toy_program(tmp_path)
    settings = parse_settings(
        program, ["--dataset", "freihand", "--data_dir", str(data_dir), "--rounds", "1", "--r", "off"]
    )
    assert evaluate(program, settings) == 0


def test_several_at_once_find_that_they_can_write(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "results"
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: require_folder(folder), range(200))) == [None] * 200
    assert not list(folder.iterdir())
