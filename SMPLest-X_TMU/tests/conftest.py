"""The suites of `shared_tmu/tests` report failed assertions in full, as tests do; bodies are read once."""

from collections.abc import Iterator
from functools import lru_cache

import pytest

from shared_tmu.body_models import arrays

pytest.register_assert_rewrite("suites")


@pytest.fixture(autouse=True, scope="session")
def bodies_are_read_once() -> Iterator[None]:
    """Reading one takes 0.2 s, and most tests do. All get the same arrays, which cannot be changed."""
    read = arrays._read_npz

    @lru_cache(maxsize=2)
    def read_unless_known(path, names, max_bytes, _inode, _changed_ns):
        content = read(path, names, max_bytes)
        for array in content.values():
            array.flags.writeable = False
        return content

    def read_once(path, names, max_bytes):
        if names is None or not path.is_file():
            return read(path, names, max_bytes)
        status = path.stat()
        return dict(read_unless_known(path, tuple(names), max_bytes, status.st_ino, status.st_mtime_ns))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_read_npz", read_once)
        yield
