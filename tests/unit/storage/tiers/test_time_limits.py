from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest

from storage.errors import ObjectMissing
from storage.tiers.time_limits import HelperThreads, TierTimeout, TimeLimits

SHORT = TimeLimits(silence_seconds=0.05, total_seconds=60, max_stuck_calls=2)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets go everything that hangs."""
    event = threading.Event()
    yield event
    event.set()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_answer_is_returned_and_an_error_raised_as_they_are() -> None:
    helpers = HelperThreads("cpfs", TimeLimits())
    assert helpers.call(lambda: 42) == 42

    def fail() -> None:
        raise ObjectMissing("gone")

    with pytest.raises(ObjectMissing, match="gone"):
        helpers.call(fail)
    assert (helpers.stuck, helpers.abandoned) == (0, 0)


def test_bytes_arrive_whole_and_in_order_in_the_callers_thread() -> None:
    class Target(io.BytesIO):
        writers: set[int] = set()  # noqa: RUF012 - of this test alone

        def write(self, block: object) -> int:
            self.writers.add(threading.get_ident())
            return super().write(block)  # type: ignore[arg-type]  # a buffer, whatever its name

    buffer = bytearray(3)

    def fetch(into: BinaryIO) -> None:
        for n in range(200):
            buffer[:] = bytes([n, n, n])  # a store may reuse its buffer
            assert into.write(buffer) == 3

    target = Target()
    HelperThreads("cpfs", TimeLimits()).stream(fetch, target)
    assert target.getvalue() == b"".join(bytes([n, n, n]) for n in range(200))
    assert Target.writers == {threading.get_ident()}


def test_a_call_that_hangs_is_left_behind_and_counted_until_it_comes_back(release: threading.Event) -> None:
    helpers = HelperThreads("cpfs", SHORT)
    for stuck in (1, 2):
        with pytest.raises(TierTimeout, match=r"cpfs sent nothing for 0\.05 s"):
            helpers.call(release.wait)
        assert (helpers.stuck, helpers.abandoned) == (stuck, stuck)
    assert helpers.is_exhausted
    release.set()
    until(lambda: helpers.stuck == 0)
    assert (helpers.is_exhausted, helpers.abandoned) == (False, 2)


def test_a_read_that_stops_half_way_is_left_behind_and_writes_no_more(release: threading.Event) -> None:
    helpers, target, ended = HelperThreads("cpfs", SHORT), io.BytesIO(), threading.Event()

    def fetch(into: BinaryIO) -> None:
        try:
            into.write(b"half")
            release.wait()
            into.write(b"late")
        finally:
            ended.set()

    with pytest.raises(TierTimeout):
        helpers.stream(fetch, target)
    release.set()
    assert ended.wait(20)
    until(lambda: helpers.stuck == 0)
    assert target.getvalue() == b"half"


def test_one_that_trickles_is_given_up_after_its_time_in_all(release: threading.Event) -> None:
    helpers = HelperThreads("cpfs", TimeLimits(silence_seconds=30, total_seconds=0.2))

    def trickle(into: BinaryIO) -> None:
        while not release.wait(0.01):
            into.write(b".")

    with pytest.raises(TierTimeout, match=r"took over 0\.2 s in total"):
        helpers.stream(trickle, io.BytesIO())
    until(lambda: helpers.stuck == 0)


def test_a_caller_that_fails_leaves_no_helper_behind() -> None:
    helpers, blocks = HelperThreads("cpfs", TimeLimits()), 0

    class Full(io.BytesIO):
        def write(self, _block: object) -> int:
            raise OSError("no space left")

    def fetch(into: BinaryIO) -> None:
        nonlocal blocks
        while True:  # ends when nobody takes its blocks
            into.write(b"x")
            blocks += 1

    with pytest.raises(OSError, match="no space left"):
        helpers.stream(fetch, Full())
    until(lambda: helpers.stuck == 0)
    assert blocks < 10
