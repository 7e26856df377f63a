"""Time limits for calls that may hang for ever.

File reads have no deadline in the kernel, and a thread inside one cannot be stopped. So each call runs in a helper
thread of its own, and its bytes reach the caller through a short queue. An abandoned helper keeps a thread and a file
descriptor until the kernel returns, but no slot of the caller, and none of its later bytes reach the caller's file.
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
_QUEUED_BLOCKS = 2  # one block is written to the disk while the next is read


class TierTimeout(Unavailable):
    """The store sent nothing for too long, or took too long in total."""

    code: ClassVar[str] = "tier_timeout"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Limits of one call, and of the number of calls that may hang at the same time."""

    silence_seconds: float = 30.0  # until the answer, or until the next bytes
    total_seconds: float = 900.0
    max_stuck_calls: int = 16


class _Abandoned(Exception):
    """Raised in a helper thread whose caller no longer waits."""


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _Fault:
    error: BaseException


class _Relay(io.RawIOBase):
    """A bounded queue of blocks from the helper to the caller, writable as a file."""

    def __init__(self) -> None:
        self.has_ended = self.is_abandoned = False  # guarded by the lock of HelperThreads
        self._items: queue.Queue[object] = queue.Queue(_QUEUED_BLOCKS)
        self._is_closed = threading.Event()

    def write(self, block: ReadableBuffer, /) -> int:
        """Pass a block to the caller; wait while the queue is full."""
        copied = bytes(block)  # makes no copy of bytes
        self.pass_on(copied)
        return len(copied)

    def pass_on(self, item: object) -> None:
        if self._is_closed.is_set():
            raise _Abandoned
        self._items.put(item)

    def take(self, timeout_seconds: float) -> object:
        """Return the next item; ``queue.Empty`` when none comes in time."""
        return self._items.get(timeout=max(timeout_seconds, 0.0))

    def close_reader(self) -> None:
        """Make the helper stop at its next block; free a helper that waits for room in the queue."""
        self._is_closed.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._items.get_nowait()


class HelperThreads:
    """Runs the calls on one store, each in a daemon thread, and abandons a call after its time limit.

    ``stuck`` counts the abandoned calls that have not returned; ``abandoned`` counts all since the start.
    """

    def __init__(self, name: str, limits: TimeLimits) -> None:
        self.name = name
        self.limits = limits
        self.stuck = self.abandoned = 0
        self._lock = threading.Lock()

    @property
    def is_exhausted(self) -> bool:
        """True while so many calls hang that no other one is started."""
        return self.stuck >= self.limits.max_stuck_calls

    def call(self, ask: Callable[[], T]) -> T:
        """Return the result of ``ask`` or raise its error; ``TierTimeout`` after the time limit."""
        return self._run(lambda _relay: ask(), None)

    def stream(self, fetch: Callable[[BinaryIO], None], into: BinaryIO) -> None:
        """Run ``fetch`` in a helper thread; write its output to ``into`` in the caller's thread."""
        self._run(fetch, into)

    def _run(self, ask: Callable[[BinaryIO], T], into: BinaryIO | None) -> T:
        relay = _Relay()
        work = threading.Thread(target=self._help, args=(relay, ask), name=f"tier {self.name}", daemon=True)
        work.start()
        deadline = time.monotonic() + self.limits.total_seconds
        with contextlib.ExitStack() as undo:
            undo.callback(self._abandon, relay)
            while isinstance(item := self._take(relay, deadline), bytes):
                cast("BinaryIO", into).write(item)
            undo.pop_all()
        if isinstance(item, _Fault):
            raise item.error
        return cast("_Answer[T]", item).value

    def _help(self, relay: _Relay, ask: Callable[[BinaryIO], T]) -> None:
        end: _Answer[T] | _Fault
        try:
            end = _Answer(ask(cast("BinaryIO", relay)))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            end = _Fault(error)
        with contextlib.suppress(_Abandoned):
            relay.pass_on(end)
        with self._lock:
            relay.has_ended = True
            self.stuck -= relay.is_abandoned

    def _take(self, relay: _Relay, deadline: float) -> object:
        remaining_seconds = deadline - time.monotonic()
        try:
            return relay.take(min(self.limits.silence_seconds, remaining_seconds))
        except queue.Empty:
            if remaining_seconds <= self.limits.silence_seconds:
                fault = f"took over {self.limits.total_seconds:g} s in total"
            else:
                fault = f"sent nothing for {self.limits.silence_seconds:g} s"
            raise TierTimeout(f"{self.name} {fault}; check its mount or server") from None

    def _abandon(self, relay: _Relay) -> None:
        with self._lock:
            if not relay.has_ended:
                relay.is_abandoned = True
                self.stuck += 1
                self.abandoned += 1
        relay.close_reader()
