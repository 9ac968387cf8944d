"""Windows of a clip that is still being read: the same as of the whole clip, and nothing waits longer."""

import pytest
import torch

from shared_tmu.temporal.stream import WindowStream
from shared_tmu.temporal.windows import in_windows


def decode(windows):
    """Depends on where a frame stands in its window."""
    place = torch.linspace(0, 1, windows.shape[1])[:, None]
    return torch.cat((windows * place, windows.cumsum(1)), dim=-1)


@pytest.mark.parametrize("window", [3, 9, 10])
@pytest.mark.parametrize("length", [1, 2, 9, 10, 11, 14, 15, 16, 40, 41])
def test_it_gives_what_the_whole_clip_gives(window, length):
    frames = torch.randn(length, 2, generator=torch.Generator().manual_seed(length))
    stream = WindowStream(decode, window)
    found, waiting = [], 0
    for row in frames:
        out = stream.push(row)
        waiting += 1 - (0 if out is None else len(out))
        assert waiting <= stream.delay
        found += [] if out is None else [out]
        assert len(stream._rows) <= 3 * window + 1
    found.append(stream.finish())
    torch.testing.assert_close(torch.cat(found), in_windows(decode, frames, window), atol=1e-5, rtol=1e-5)


def test_nothing_gives_nothing():
    assert WindowStream(decode, 4).finish() is None
