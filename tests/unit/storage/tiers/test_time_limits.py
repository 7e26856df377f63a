from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import pytest

from storage.errors import ObjectMissing
from storage.tiers.time_limits import HelperThreads, TierTimeout, TimeLimits
from tests.children import wait_until

SHORT = TimeLimits(silence_seconds=0.05, total_seconds=60, max_stuck_calls=2)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Releases every call that hangs."""
    event = threading.Event()
    yield event
    event.set()


def test_results_and_errors_pass_through_unchanged() -> None:
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
            return super().write(block)  # type: ignore[arg-type]  # any buffer, as BytesIO accepts it

    buffer = bytearray(3)

    def fetch(into: BinaryIO) -> None:
        for n in range(200):
            buffer[:] = bytes([n, n, n])  # a store may reuse its buffer
            assert into.write(buffer) == 3

    target = Target()
    HelperThreads("cpfs", TimeLimits()).stream(fetch, target)
    assert target.getvalue() == b"".join(bytes([n, n, n]) for n in range(200))
    assert Target.writers == {threading.get_ident()}


def test_a_call_that_hangs_is_abandoned_and_counted_until_it_returns(release: threading.Event) -> None:
    helpers = HelperThreads("cpfs", SHORT)
    for stuck in (1, 2):
        with pytest.raises(TierTimeout, match=r"cpfs sent nothing for 0\.05 s"):
            helpers.call(release.wait)
        assert (helpers.stuck, helpers.abandoned) == (stuck, stuck)
    assert helpers.is_exhausted
    release.set()
    wait_until(lambda: helpers.stuck == 0)
    assert (helpers.is_exhausted, helpers.abandoned) == (False, 2)


def test_a_read_that_stops_half_way_is_abandoned_and_its_later_bytes_are_dropped(release: threading.Event) -> None:
    patient = replace(SHORT, silence_seconds=0.5)  # the first half must arrive before it
    helpers, target, ended = HelperThreads("cpfs", patient), io.BytesIO(), threading.Event()

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
    wait_until(lambda: helpers.stuck == 0)
    assert target.getvalue() == b"half"


def test_a_trickling_read_ends_at_the_total_time_limit(release: threading.Event) -> None:
    helpers = HelperThreads("cpfs", TimeLimits(silence_seconds=30, total_seconds=0.2))

    def trickle(into: BinaryIO) -> None:
        while not release.wait(0.01):
            into.write(b".")

    with pytest.raises(TierTimeout, match=r"took over 0\.2 s in total"):
        helpers.stream(trickle, io.BytesIO())
    wait_until(lambda: helpers.stuck == 0)


def test_a_failing_target_ends_the_helper_thread() -> None:
    helpers, blocks = HelperThreads("cpfs", TimeLimits()), 0

    class Full(io.BytesIO):
        def write(self, _block: object) -> int:
            raise OSError("no space left")

    def fetch(into: BinaryIO) -> None:
        nonlocal blocks
        while True:  # ends when the caller takes no more blocks
            into.write(b"x")
            blocks += 1

    with pytest.raises(OSError, match="no space left"):
        helpers.stream(fetch, Full())
    wait_until(lambda: helpers.stuck == 0)
    assert blocks < 10
