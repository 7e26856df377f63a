from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tasks.cli.checks.deadline import stream_within


def test_values_come_before_the_work_has_ended() -> None:
    may_end = threading.Event()

    def work() -> Iterator[int]:
        yield 1
        may_end.wait(60)
        yield 2

    values = stream_within(60, work)
    assert next(values) == 1
    may_end.set()
    assert list(values) == [2]


def test_an_exception_of_the_work_is_raised_after_its_values() -> None:
    def work() -> Iterator[int]:
        yield 1
        raise OSError("the disk failed")

    values = stream_within(60, work)
    assert next(values) == 1
    with pytest.raises(OSError, match="the disk failed"):
        next(values)


def test_work_that_hangs_is_left_behind_at_the_deadline() -> None:
    end = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        list(stream_within(0.05, lambda: [end.wait(60)]))
    end.set()
