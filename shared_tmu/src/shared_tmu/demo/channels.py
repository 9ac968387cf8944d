"""How the demo's threads exchange data with bounded memory: bounded channels, and a limit on the pixels of
all images that are being processed.

Every wait ends when the other side is closed, so an error or an interruption in one thread ends them all.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ChannelClosedError(Exception):
    """The consumer of a thread's items has stopped taking them: the run is ending."""


class Channel(Generic[T]):
    """A queue between threads.

    Args:
        depth: number of items that may wait; `put` blocks while that many do.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._is_ended = self._is_closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Add an item; waits for room.

        Raises:
            ChannelClosedError: the channel was closed.
            BaseException: the error that a consumer passed to `fail`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._items) < self._depth)
            if self._error is not None:
                raise self._error
            if self._is_closed:
                raise ChannelClosedError
            self._items.append(item)
            self._changed.notify_all()

    def end(self) -> None:
        """Declare that no more items will come; waiting items are still delivered."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Close with an error, which is then raised in every thread that uses the channel."""
        with self._changed:
            self._error = self._error or error
        self.close()

    def close(self) -> None:
        """End all waiting on both sides and drop the waiting items."""
        with self._changed:
            self._is_closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Take items in order until there are no more, or the channel is closed; several threads may iterate.

        Raises:
            BaseException: the error that was passed to `fail`.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._is_ended or bool(self._items))
                if self._error is not None:
                    raise self._error
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


class PixelBudget:
    """Admits images while all images in process have at most `limit` pixels together; a single image may
    exceed it.

    Args:
        limit: pixels.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_use = 0
        self._is_closed = self._is_alone = False
        self._changed = threading.Condition()

    def take(self, pixels: int) -> None:
        """Wait until there is room, then count an image as in process.

        Raises:
            ChannelClosedError: the run is ending.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._has_room())
            if self._is_closed:
                raise ChannelClosedError
            self._in_use += pixels

    def take_alone(self, pixels: int) -> None:
        """Wait until no image is in process, then count a large image; no other is admitted beside it.

        Raises:
            ChannelClosedError: the run is ending.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._in_use == 0)
            if self._is_closed:
                raise ChannelClosedError
            self._in_use += pixels
            self._is_alone = True

    def give_back(self, pixels: int) -> None:
        """Tell the budget that an image has left memory."""
        with self._changed:
            self._in_use -= pixels
            self._is_alone &= self._in_use > 0
            self._changed.notify_all()

    def close(self) -> None:
        """End all waiting."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return not self._is_alone and self._in_use <= self._limit
