"""make_shards.py refuses what training would refuse, before it draws."""

from pathlib import Path

import make_shards
import pytest

from shared_tmu.errors import ConfigError, InputError, TMUError


@pytest.mark.parametrize(
    ("flags", "error", "told"),
    [
        ("--count 0", ConfigError, "count=0 was asked for"),
        ("--count -5", ConfigError, "count=-5 was asked for"),
        ("--seed -1", ConfigError, "seed=-1 was asked for"),
        ("--seed 4294967296", ConfigError, "seed=4294967296 was asked for"),
        ("--of body --other-hand 0.5", ConfigError, "synthbody has no such pictures"),
        ("--cache file", InputError, r"--cache file cannot be made .*: name another folder"),
    ],
)
def test_scenes_and_folders_that_cannot_be_are_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, error: type[TMUError], told: str
) -> None:
    monkeypatch.setattr("shared_tmu.synth.shards.write_shard", lambda *given: pytest.fail("it draws"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(error, match=told):
        make_shards.main(["--cache", "cache", *flags.split()])
    assert not list(tmp_path.glob("cache/*"))


def test_as_many_shards_are_drawn_as_the_scenes_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr("shared_tmu.synth.shards.write_shard", lambda *given: drawn.append(given[2]))
    flags = ["--cache", str(tmp_path / "new" / "cache"), "--seed", "4294967295", "--count", "501"]
    assert make_shards.main(flags) == 0
    assert drawn == [0, 1]
