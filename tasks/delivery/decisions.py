"""Which error is which: *retry me* or *record me*. One table, and the waits between attempts.

| error | decision | code when recorded |
|---|---|---|
| ``storage.SpoolFull`` | wait: the attempt is not counted | – |
| ``storage.TierOpen`` (the object store is left alone) | wait as long as it is: nothing was attempted | – |
| ``storage.Unavailable``, ``inference.Transient`` | retry with back-off, then record | the error's |
| ``OSError`` (the spool file vanished, the disk failed) | retry with back-off, then record | ``node_io_error`` |
| ``storage.Rejected``, ``inference.BadVideo`` | record at once | the error's |
| anything else: a bug | logged with its traceback, retried, then recorded | ``internal_error`` |
| more deliveries than attempts (the process died under it) | record at once | ``attempts_exhausted`` |
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.errors import BadVideo, Transient
from storage.backoff import Backoff
from storage.errors import Rejected, SpoolFull, TierOpen, Unavailable
from storage.records import Failure

MESSAGE_CHARACTERS = 500  # a failure's message is for people; a stack of decoder output is not


class AttemptsExhausted(Exception):
    """The step was begun more often than allowed and never ended: its process died each time."""

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
    """Say what to do about ``error``, raised by attempt number ``attempt`` (from 1) at ``stage``."""
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
    """Whether the error is none of those we know, so must be logged with its traceback."""
    return code_of(error) == "internal_error"


def describe(error: Exception) -> str:
    """Return the failure's message; a bug is prefixed with its type."""
    text = f"{type(error).__name__}: {error}" if is_bug(error) else str(error)
    return text[:MESSAGE_CHARACTERS]
