"""The bounded YAML reader: whatever a file holds, one sentence, in no time and in little memory."""

import contextlib
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared_tmu.errors import ConfigError, MissingAssetError, TMUError
from shared_tmu.files.yaml_files import MAX_BYTES, brief, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{last}'] * 9)}]\n"
    for last, this in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{this}: &{this} {{l: *{last}, r: *{last}}}\n"
    for last, this in zip("abcdefghijklmnopq", "bcdefghijklmnopqr", strict=True)
)


def refused(path: Path, text: str | bytes) -> str:
    """The message about a file of this content, which comes at once."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.monotonic()
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    assert time.monotonic() - start < 5
    assert len(str(error.value)) < 1000
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "has more than 20,000 values"),
        (MERGED, "has more than 20,000 values"),
        ("[" * (MAX_BYTES - 1), "nested more than 24 levels deep"),
        ("{" * 10_000, "nested more than 24 levels deep"),
        ("- " * 10_000, "nested more than 24 levels deep"),
        ("? " * 10_000, "nested more than 24 levels deep"),
        ("[" * 10_000_000, "larger than the limit of 262,144 bytes"),
        ("a: &a [*a]", "contains itself"),
        ("a: *b", "undefined alias"),
        ("a: " + "1" * 5000, "5,000 characters"),
        ("a: !!int abc", "cannot be read as YAML"),
        ("a: !!float ''", "cannot be read as YAML"),
        ("a: !!bool x", "cannot be read as YAML"),
        ("a: !!timestamp x", "cannot be read as YAML"),
        ("a: 2001-99-99", "cannot be read as YAML"),
        ("? [a]\n: 1", "unhashable"),
        ("x: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: 1\nb:\n- {x: 2,\n   y: 3,\n   x: 4}", "sets 'x' twice, in lines 3 and 5: keep one"),
        ("? " + "k" * 4000 + "\n: 1\n? " + "k" * 4000 + "\n: 2", "twice, in lines 1 and 3"),
        ("!!set {a}", "must be a mapping, but is a set"),
        ("", "must be a mapping, but is a NoneType"),
        (b"a: \xff\xfe", "not UTF-8 text"),
        (b"a: \x00", "not allowed"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_configuration(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert message in refused(tmp_path / "x.yaml", text)


def test_every_truncation_and_every_flipped_byte(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    content = b"model: hamer\nimage_mean: &m [0.4, 0.5]\nbackbone: {depth: 3, again: *m, d: 2001-01-01}\n"
    damaged = [content[:end] for end in range(len(content))]
    for place in range(len(content)):
        damaged += [
            content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :] for bit in (1, 32, 128)
        ]
    for text in damaged:
        path.write_bytes(text)
        with contextlib.suppress(TMUError):
            assert isinstance(read_yaml(path), dict)


def test_aliases_and_merge_keys_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a {x: [1, 2]}\nb: {<<: *a, y: 3}\nc: *a\n")
    content = read_yaml(tmp_path / "x.yaml")
    assert content == {"a": {"x": [1, 2]}, "b": {"x": [1, 2], "y": 3}, "c": {"x": [1, 2]}}
    (tmp_path / "x.yaml").write_text(
        "a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, <<: *b, x: 3}\nd: {1: 4, '1': 5}\n"
    )
    content = read_yaml(tmp_path / "x.yaml")
    assert (content["c"], content["d"]) == ({"x": 3, "y": 2}, {1: 4, "1": 5})


def test_a_missing_file_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"x\.yaml is not in .*\. Ask Anna\."):
        read_yaml(tmp_path / "x.yaml", "Ask Anna.")


def test_memory_stays_small(tmp_path: Path) -> None:
    """In half a gigabyte of address space, what would take many of them is refused with one sentence."""
    (tmp_path / "bomb.yaml").write_text(BOMB)
    with (tmp_path / "deep.yaml").open("wb") as file:
        file.write(b"[" * 10_000_000)
    code = (
        "import sys; from shared_tmu.files.yaml_files import read_yaml\n"
        "from shared_tmu.errors import ConfigError\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_yaml(path)\n"
        "    except ConfigError as error: print(len(str(error)))\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))

    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bomb.yaml", tmp_path / "deep.yaml"],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2
    assert len(done.stderr) < 1000


def test_brief_leaves_out_what_is_large() -> None:
    value: list[object] = ["x" * 1000] * 9
    for _ in range(50):
        value = [value, value]
    assert len(brief(value)) < 200
    assert brief(256) == "256"
    assert brief([1 << 20_000]) == "[a number of 20001 bits]"  # Python writes no such number
    assert brief({"a": [1.5, "b"]}) == "{'a': [1.5, 'b']}"
