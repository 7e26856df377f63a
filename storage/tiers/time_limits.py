"""Calls that may hang for ever, and a caller who does not wait for ever.

The kernel gives file reads no deadline, and a thread inside one cannot be stopped. So the call runs in a helper thread
of its own, and its bytes reach the caller through a short queue: a helper left behind holds a thread and a descriptor
until the kernel lets it go, but never the caller's slot, and nothing that it does later reaches the caller's file.
"""

from __future__ import annotations

import contextlib
import io
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Generic, TypeVar, cast

from storage.errors import Unavailable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

T = TypeVar("T")
_QUEUED_BLOCKS = 2  # one is written to the disk while the next is read


class TierTimeout(Unavailable):
    """The store was silent for too long, or took too long in all."""

    code: ClassVar[str] = "tier_timeout"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long one call may take, and how many may hang at once."""

    silence_seconds: float = 30.0  # until the answer, or until the next bytes
    total_seconds: float = 900.0
    max_stuck_calls: int = 16


class _Abandoned(Exception):
    """Nobody waits for this call any more."""


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _Fault:
    error: BaseException


class _Relay(io.RawIOBase):
    """What the helper writes to; the caller takes it out at the other end."""

    def __init__(self) -> None:
        self.has_ended = self.was_left = False  # under the lock of the one who started it
        self._parcels: queue.Queue[object] = queue.Queue(_QUEUED_BLOCKS)
        self._is_cut = threading.Event()

    def write(self, block: ReadableBuffer, /) -> int:
        """Hand a block over; waits while the caller is behind."""
        copied = bytes(block)  # no copy of what is bytes already
        self.hand_over(copied)
        return len(copied)

    def hand_over(self, parcel: object) -> None:
        if self._is_cut.is_set():
            raise _Abandoned
        self._parcels.put(parcel)

    def take(self, timeout_seconds: float) -> object:
        """The next parcel; ``queue.Empty`` when none comes in time."""
        return self._parcels.get(timeout=max(timeout_seconds, 0.0))

    def cut(self) -> None:
        """Have the helper stop at its next block, should there be one; it may be waiting to hand over the last."""
        self._is_cut.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._parcels.get_nowait()


class HelperThreads:
    """Runs one store's calls, each in a daemon thread: as many as there are callers, and a bounded number left behind.

    ``stuck`` counts those that nobody waits for and that have not come back; ``abandoned`` all that ever were.
    """

    def __init__(self, name: str, limits: TimeLimits) -> None:
        self.name = name
        self.limits = limits
        self.stuck = self.abandoned = 0
        self._lock = threading.Lock()

    @property
    def is_exhausted(self) -> bool:
        """Whether so many calls hang that no further one may be risked."""
        return self.stuck >= self.limits.max_stuck_calls

    def call(self, ask: Callable[[], T]) -> T:
        """Return what ``ask`` returns, raise what it raises, or ``TierTimeout``."""
        return self._run(lambda _relay: ask(), None)

    def stream(self, fetch: Callable[[BinaryIO], None], into: BinaryIO) -> None:
        """Write to ``into``, in the caller's thread, what ``fetch`` writes to its argument, in the helper's."""
        self._run(fetch, into)

    def _run(self, ask: Callable[[BinaryIO], T], into: BinaryIO | None) -> T:
        relay = _Relay()
        work = threading.Thread(target=self._help, args=(relay, ask), name=f"tier {self.name}", daemon=True)
        work.start()
        deadline = time.monotonic() + self.limits.total_seconds
        with contextlib.ExitStack() as undo:
            undo.callback(self._leave, relay)
            while isinstance(parcel := self._take(relay, deadline), bytes):
                cast("BinaryIO", into).write(parcel)
            undo.pop_all()
        if isinstance(parcel, _Fault):
            raise parcel.error
        return cast("_Answer[T]", parcel).value

    def _help(self, relay: _Relay, ask: Callable[[BinaryIO], T]) -> None:
        end: _Answer[T] | _Fault
        try:
            end = _Answer(ask(cast("BinaryIO", relay)))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            end = _Fault(error)
        with contextlib.suppress(_Abandoned):
            relay.hand_over(end)
        with self._lock:
            relay.has_ended = True
            self.stuck -= relay.was_left

    def _take(self, relay: _Relay, deadline: float) -> object:
        remaining_seconds = deadline - time.monotonic()
        try:
            return relay.take(min(self.limits.silence_seconds, remaining_seconds))
        except queue.Empty:
            if remaining_seconds <= self.limits.silence_seconds:
                fault = f"took over {self.limits.total_seconds:g} s in all"
            else:
                fault = f"was silent for {self.limits.silence_seconds:g} s"
            raise TierTimeout(f"{self.name} {fault}; is its mount or server alive?") from None

    def _leave(self, relay: _Relay) -> None:
        with self._lock:
            if not relay.has_ended:
                relay.was_left = True
                self.stuck += 1
                self.abandoned += 1
        relay.cut()
