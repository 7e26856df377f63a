"""Tables that a process opens once each. A table that hangs while it opens delays only those who need that table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

from storage.errors import Unavailable

Key = TypeVar("Key", bound=Hashable)
Table = TypeVar("Table")

OPEN_SECONDS = 30.0  # from the beginning of an opening until its callers no longer wait for it


class OpenedOnce(Generic[Key, Table]):
    """Open resources by key, each in a thread of its own, which may hang for ever: the kernel cannot be asked to stop.

    A failed opening is forgotten, so that the next caller tries again. Once an opening has taken too long, callers fail
    at once, so that a table that hangs does not take one thread after another.
    """

    def __init__(self, open_seconds: float = OPEN_SECONDS) -> None:
        self._open_seconds = open_seconds
        self._lock = threading.Lock()
        self._futures: dict[Key, Future[Table]] = {}
        self._deadlines: dict[Key, float] = {}

    def get(self, key: Key, name: str, open_table: Callable[[], Table]) -> Table:
        """Return the resource; ``Unavailable`` if it has not opened in time, or the error of opening it."""
        with self._lock:  # never held while anything opens
            future = self._futures.get(key)
            if future is None:
                future = self._futures[key] = Future()
                self._deadlines[key] = time.monotonic() + self._open_seconds
                arguments = (key, future, open_table)
                threading.Thread(target=self._open, args=arguments, name=f"open {name}", daemon=True).start()
        try:
            return future.result(max(0.0, self._deadlines[key] - time.monotonic()))
        except TimeoutError:
            if future.done():  # the opening itself raised it
                raise
            msg = f"{name} has not opened within {self._open_seconds:g} s; it is still being opened"
            raise Unavailable(msg) from None

    def forget(self, key: Key) -> None:
        """Open the resource anew at the next call."""
        with self._lock:
            self._futures.pop(key, None)

    def opened(self) -> Iterator[Table]:
        """Yield the resources that are open."""
        for future in list(self._futures.values()):
            if future.done() and future.exception() is None:
                yield future.result()

    def _open(self, key: Key, future: Future[Table], open_table: Callable[[], Table]) -> None:
        try:
            future.set_result(open_table())
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            self.forget(key)
            future.set_exception(error)
