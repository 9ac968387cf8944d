"""Flags of the benchmark that would change nothing are refused."""

import pytest
from toy_hand_model import toy_program

from shared_tmu.bench.cli import main


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--profile", "--runtime", "compiled"], "leave --runtime out"),
        (["--profile", "--budget", "5"], "leave --budget out"),
        (["--pictures", "."], "--pictures are for --profile"),
        (["--profile", "--resume"], "--profile cannot be combined with --resume"),
    ],
)
def test_flags_that_would_change_nothing_are_refused(flags, said, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(toy_program(tmp_path), ["--device", "cpu", *flags])
    assert said in capsys.readouterr().err
