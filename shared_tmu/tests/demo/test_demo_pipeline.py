"""The demo's threads and processes: nothing piles up, nothing hangs, and results do not depend on them."""

import threading
import time

from shared_tmu.demo.channels import Channel, ChannelClosedError, PixelBudget

DEADLINE_S = 60


def in_thread(work):
    """Start `work`; the list gets what it returned or raised."""
    ends = []

    def run_it():
        try:
            ends.append(work())
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=run_it, daemon=True)
    thread.start()
    return thread, ends


def test_a_channel_keeps_order_and_holds_no_more_than_its_depth():
    channel, handed_on = Channel(3), []

    def produce():
        for item in range(20):
            channel.put(item)
            handed_on.append(item)
        channel.end()

    thread, _ = in_thread(produce)
    taken = []
    for item in channel:
        time.sleep(0.001)
        assert len(handed_on) - len(taken) <= 3 + 2  # waiting, taken now, and put a moment ago
        taken.append(item)
    thread.join(DEADLINE_S)
    assert taken == list(range(20))


def test_closing_or_failing_ends_every_wait():
    for stop, wanted in ((Channel.close, ChannelClosedError), (lambda c: c.fail(OSError("disk")), OSError)):
        full, empty = Channel(1), Channel(1)
        full.put("one")
        waiting = [in_thread(lambda c=full: c.put("two")), in_thread(lambda c=empty: list(c))]
        for channel in (full, empty):
            stop(channel)
        for thread, _ in waiting:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        assert isinstance(waiting[0][1][0], wanted)
        assert (
            waiting[1][1][0] == [] if wanted is ChannelClosedError else isinstance(waiting[1][1][0], OSError)
        )


def test_the_pixel_budget_lets_one_image_beyond_and_then_waits():
    budget = PixelBudget(100)
    budget.take(90)
    budget.take(500)  # a single image may be larger than all that is allowed
    thread, ends = in_thread(lambda: budget.take(1))
    assert not ends
    budget.give_back(500)
    thread.join(DEADLINE_S)
    assert ends == [None]
    budget.take(50)
    thread, ends = in_thread(lambda: budget.take(1))
    budget.close()
    thread.join(DEADLINE_S)
    assert isinstance(ends[0], ChannelClosedError)
