from __future__ import annotations

import pytest

from inference.errors import BadVideo, DeviceLost, PoolTimeout, VideoFault
from storage.backoff import Backoff
from storage.errors import (
    BadRow,
    ForbiddenPath,
    ObjectCorrupt,
    ObjectMissing,
    ObjectTooLarge,
    SpoolFull,
    TierOpen,
    Unavailable,
)
from tasks.delivery.decisions import MESSAGE_CHARACTERS, AttemptsExhausted, Record, Retry, decide

BACKOFF = Backoff(first_seconds=1.0, longest_seconds=8.0)
MAX_ATTEMPTS = 4

PERMANENT = [
    (BadRow("x"), "bad_row"),
    (ForbiddenPath("x"), "forbidden_path"),
    (ObjectMissing("x"), "object_missing"),
    (ObjectCorrupt("x"), "object_corrupt"),
    (ObjectTooLarge("x"), "object_too_large"),
    (BadVideo(VideoFault.DECODE_CRASHED, "x"), "decode_crashed"),
    (BadVideo(VideoFault.NOT_A_VIDEO, "x"), "not_a_video"),
    (AttemptsExhausted("x"), "attempts_exhausted"),
]
TRANSIENT = [
    (Unavailable("x"), "store_unavailable"),
    (PoolTimeout("x"), "pool_timeout"),
    (DeviceLost("x"), "device_lost"),
    (FileNotFoundError("gone"), "node_io_error"),
    (KeyError("a bug"), "internal_error"),
]


def decision(error: Exception, attempt: int) -> Retry | Record:
    return decide(error, stage="infer", attempt=attempt, max_attempts=MAX_ATTEMPTS, backoff=BACKOFF)


@pytest.mark.parametrize(("error", "code"), PERMANENT)
def test_a_permanent_error_is_recorded_at_the_first_attempt(error: Exception, code: str) -> None:
    made = decision(error, attempt=1)
    assert isinstance(made, Record)
    assert (made.failure.code, made.failure.stage, made.failure.attempts) == (code, "infer", 1)


@pytest.mark.parametrize(("error", "code"), TRANSIENT)
def test_a_transient_error_is_retried_until_the_attempts_are_used_up(error: Exception, code: str) -> None:
    assert all(isinstance(decision(error, attempt), Retry) for attempt in range(1, MAX_ATTEMPTS))
    made = decision(error, attempt=MAX_ATTEMPTS)
    assert isinstance(made, Record)
    assert made.failure.code == code


def test_a_full_spool_is_retried_and_never_recorded() -> None:
    for attempt in (1, MAX_ATTEMPTS, 100):
        made = decision(SpoolFull("x"), attempt)
        assert isinstance(made, Retry)
        assert not made.counts_as_attempt


def test_a_paused_store_is_retried_after_the_pause_and_costs_no_attempt() -> None:
    for attempt in (1, MAX_ATTEMPTS, 100):
        made = decision(TierOpen("x", wait_seconds=40.0), attempt)
        assert isinstance(made, Retry)
        assert not made.counts_as_attempt
        assert 40.0 < made.wait_seconds <= 41.0


def test_the_message_of_a_bug_begins_with_its_type_and_is_cut() -> None:
    made = decision(ValueError("y" * 10_000), attempt=MAX_ATTEMPTS)
    assert isinstance(made, Record)
    assert made.failure.message.startswith("ValueError: yyy")
    assert len(made.failure.message) == MESSAGE_CHARACTERS
