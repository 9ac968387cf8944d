"""Windows of a clip that is not complete yet: frames leave as soon as no later window can change them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from shared_tmu.temporal.windows import OVERLAP, fade, in_windows


class WindowStream:
    """As `in_windows`, frame by frame; the result is the same.

    Args:
        decode: as there.
        window: as there.
    """

    def __init__(self, decode: Callable[[Tensor], Tensor], window: int) -> None:
        self.decode, self.window = decode, window
        self.step = max(1, window - window // OVERLAP)
        self.count = 0
        self._rows: list[Tensor] = []  # from frame `_first` on
        self._first = 0
        self._total: Tensor | None = None
        self._shares = torch.zeros(0)
        self._start = 0  # of the next window
        self._left = 0

    @property
    def delay(self) -> int:
        """Most frames that are waiting."""
        return self.window + self.step

    def push(self, row: Tensor) -> Tensor | None:
        """Take a frame `[C]`; gives back those that are final now, in order, `[n, F]`."""
        self._rows.append(row)
        self.count += 1
        # a window is decoded when the next regular one is complete: only then it is not the last
        if self.count < self._start + self.step + self.window:
            return None
        self._add(self._start)
        self._start += self.step
        return self._take(self._start)

    def finish(self) -> Tensor | None:
        """The frames that are left, `[n, F]`."""
        if self.count == 0:
            return None
        if self.count <= self.window:
            return in_windows(self.decode, torch.stack(self._rows), self.window)
        self._add(self._start)
        if self.count > self._start + self.window:
            self._add(self.count - self.window)
        return self._take(self.count)

    def _add(self, start: int) -> None:
        rows = torch.stack(self._rows[start - self._first : start - self._first + self.window])
        part = self.decode(rows[None])[0]
        if self._total is None:
            self._total = part.new_zeros(0, part.shape[-1])
        need = start + self.window - self._left - len(self._total)
        if need > 0:
            self._total = torch.cat((self._total, self._total.new_zeros(need, part.shape[-1])))
            self._shares = torch.cat((self._shares, self._shares.new_zeros(need)))
        weight = fade(self.window).to(part)
        at = slice(start - self._left, start - self._left + self.window)
        self._total[at] += weight[:, None] * part
        self._shares[at] += weight.to(self._shares)

    def _take(self, until: int) -> Tensor:
        assert self._total is not None
        count = until - self._left
        found = self._total[:count] / self._shares[:count, None].to(self._total)
        self._total, self._shares, self._left = self._total[count:], self._shares[count:], until
        keep = max(0, self._left - self.window - self._first)
        self._rows, self._first = self._rows[keep:], self._first + keep
        return found
