from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.tiers.breaker import Breaker, BreakerLimits, BreakerState

LIMITS = BreakerLimits(failures=3, pause_seconds=5, longest_pause_seconds=20)


class SetClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def breaker(clock: SetClock) -> Breaker:
    return Breaker(LIMITS, clock=clock)


def call(breaker: Breaker, *, is_answered: bool | None, kind: str = "stat") -> bool:
    """Call through the breaker; return True if it admitted the call."""
    ticket = breaker.admit()
    if ticket is not None:
        breaker.record(ticket, kind, is_answered=is_answered)
    return ticket is not None


def opened(breaker: Breaker, kind: str = "stat") -> None:
    for _ in range(LIMITS.failures):
        call(breaker, is_answered=False, kind=kind)
    assert breaker.state is BreakerState.OPEN


def test_the_breaker_opens_after_the_limit_of_failures_in_a_row(breaker: Breaker) -> None:
    for _ in range(2):
        call(breaker, is_answered=False)
    call(breaker, is_answered=True)
    for _ in range(2):
        call(breaker, is_answered=False)
    assert breaker.state is BreakerState.CLOSED
    call(breaker, is_answered=False)
    assert (breaker.state, breaker.openings) == (BreakerState.OPEN, 1)
    assert not call(breaker, is_answered=True)


def test_failed_fetches_open_the_breaker_despite_answered_stats(breaker: Breaker) -> None:
    for _ in range(3):
        call(breaker, is_answered=True, kind="stat")
        call(breaker, is_answered=False, kind="fetch")
    assert breaker.state is BreakerState.OPEN


def test_an_outcome_of_none_neither_counts_nor_resets(breaker: Breaker) -> None:
    for answer in (False, None, False, None, None):
        call(breaker, is_answered=answer)
    assert breaker.state is BreakerState.CLOSED
    call(breaker, is_answered=False)
    assert breaker.state is BreakerState.OPEN


def test_after_the_pause_one_probe_is_admitted_and_its_success_closes(breaker: Breaker, clock: SetClock) -> None:
    opened(breaker)
    clock.now += 4.9
    assert breaker.admit() is None
    assert breaker.wait_seconds == pytest.approx(0.1)
    clock.now += 0.2
    assert breaker.state is BreakerState.HALF_OPEN
    probe = breaker.admit()
    assert probe is not None
    assert breaker.admit() is None
    assert breaker.wait_seconds == LIMITS.pause_seconds
    breaker.record(probe, "stat", is_answered=True)
    assert breaker.state is BreakerState.CLOSED
    assert call(breaker, is_answered=True)


def test_a_probe_that_fails_doubles_the_pause_up_to_its_limit(breaker: Breaker, clock: SetClock) -> None:
    opened(breaker)
    for pause_seconds in (5, 10, 20, 20):
        assert breaker.wait_seconds == pytest.approx(pause_seconds)
        clock.now += pause_seconds
        assert call(breaker, is_answered=False)
        assert breaker.state is BreakerState.OPEN
    clock.now += 20
    assert call(breaker, is_answered=True)
    opened(breaker)
    assert breaker.wait_seconds == pytest.approx(LIMITS.pause_seconds)


def test_a_probe_with_an_outcome_of_none_admits_another_probe(breaker: Breaker, clock: SetClock) -> None:
    opened(breaker)
    clock.now += 5
    assert call(breaker, is_answered=None)
    assert breaker.state is BreakerState.HALF_OPEN
    assert call(breaker, is_answered=True)
    assert breaker.state is BreakerState.CLOSED


def test_closed_by_a_stat_the_breaker_opens_at_the_next_failed_fetch(breaker: Breaker, clock: SetClock) -> None:
    opened(breaker, "fetch")
    clock.now += 5
    call(breaker, is_answered=True, kind="stat")
    assert breaker.state is BreakerState.CLOSED
    call(breaker, is_answered=False, kind="fetch")
    assert breaker.state is BreakerState.OPEN


def test_outcomes_of_calls_from_before_the_opening_are_ignored(breaker: Breaker, clock: SetClock) -> None:
    late = [breaker.admit() for _ in range(3)]
    opened(breaker)
    clock.now += 5
    probe = breaker.admit()
    for ticket, is_answered in zip(late, (True, False, None), strict=True):
        assert ticket is not None
        breaker.record(ticket, "stat", is_answered=is_answered)
    assert breaker.admit() is None
    assert (probe is not None, breaker.state, breaker.openings) == (True, BreakerState.HALF_OPEN, 1)


def test_of_many_threads_one_is_admitted_as_probe(breaker: Breaker, clock: SetClock) -> None:
    opened(breaker)
    clock.now += 5
    together = threading.Barrier(8)

    def ask(_: int) -> bool:
        together.wait()
        return breaker.admit() is not None

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) == 1
