"""Decisions about errors, *retry me* or *record me*, and the waits between attempts.

| error | decision | code when recorded |
|---|---|---|
| ``storage.SpoolFull`` | retry; not counted as an attempt | – |
| ``storage.TierOpen`` (calls to the object store are paused) | retry after the pause; not counted as an attempt | – |
| ``storage.Unavailable``, ``inference.Transient`` | retry with back-off, then record | the error's |
| ``OSError`` (the spool file is gone, the disk failed) | retry with back-off, then record | ``node_io_error`` |
| ``storage.Rejected``, ``inference.BadVideo`` | record at once | the error's |
| anything else: a bug | logged with its traceback, retried, then recorded | ``internal_error`` |
| as many unfinished attempts as allowed (the process died each time) | record at once | ``attempts_exhausted`` |
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.errors import BadVideo, Transient
from storage.backoff import Backoff
from storage.errors import Rejected, SpoolFull, TierOpen, Unavailable
from storage.records import Failure

MESSAGE_CHARACTERS = 500  # longest message of a failure: decoder output can be very long


class AttemptsExhausted(Exception):
    """The step began as often as allowed and never ended: its process died each time."""

    code = "attempts_exhausted"


@dataclass(frozen=True, slots=True)
class Retry:
    """Try the same step again after a wait."""

    wait_seconds: float
    counts_as_attempt: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """Write this failure as the row's result."""

    failure: Failure


def decide(error: Exception, *, stage: str, attempt: int, max_attempts: int, backoff: Backoff) -> Retry | Record:
    """Return the decision about ``error``, raised by attempt number ``attempt`` (from 1) at ``stage``."""
    if isinstance(error, SpoolFull):
        return Retry(backoff.wait_seconds(1), counts_as_attempt=False)
    if isinstance(error, TierOpen):
        return Retry(error.wait_seconds + backoff.wait_seconds(1), counts_as_attempt=False)
    is_permanent = isinstance(error, Rejected | BadVideo | AttemptsExhausted)
    if not is_permanent and attempt < max_attempts:
        return Retry(backoff.wait_seconds(attempt))
    return Record(Failure(code=code_of(error), stage=stage, message=describe(error), attempts=attempt))


def code_of(error: Exception) -> str:
    """Return the stable code of an error; ``internal_error`` for one that is a bug."""
    if isinstance(error, Rejected | Unavailable | BadVideo | Transient | AttemptsExhausted):
        return error.code
    return "node_io_error" if isinstance(error, OSError) else "internal_error"


def is_bug(error: Exception) -> bool:
    """Return whether the error is of no known kind, so that it must be logged with its traceback."""
    return code_of(error) == "internal_error"


def describe(error: Exception) -> str:
    """Return the failure's message, at most ``MESSAGE_CHARACTERS`` long; a bug's begins with its type."""
    text = f"{type(error).__name__}: {error}" if is_bug(error) else str(error)
    return text[:MESSAGE_CHARACTERS]
