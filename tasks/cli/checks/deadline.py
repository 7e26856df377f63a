"""Work with a deadline, on a thread that is left behind when it hangs, as a dead network file system makes it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

THREAD_NAME = "tamis-deadline"


def stream_within(seconds: float, start: Callable[[], Iterable[T]]) -> Iterator[T]:
    """Yield the values of ``start()`` as they come. Raises its exception, and ``TimeoutError`` after ``seconds``."""
    values: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue()

    def work() -> None:
        end: BaseException | None = None
        try:
            for value in start():
                values.put((False, value))
        except BaseException as error:  # noqa: BLE001 -- raised again by the waiting thread
            end = error
        values.put((True, end))

    threading.Thread(target=work, daemon=True, name=THREAD_NAME).start()
    deadline = time.monotonic() + seconds
    while True:
        try:
            is_end, value = values.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        if is_end:
            if isinstance(value, BaseException):
                raise value
            return
        yield value  # type: ignore[misc]  # a value, since it is not the end
