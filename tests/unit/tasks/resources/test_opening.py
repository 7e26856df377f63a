"""Tables that a process opens once: a table that hangs delays only the callers that need it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.errors import Unavailable, UsageError
from tasks.resources.opening import OpenedOnce


def hanging(release: threading.Event, begun: threading.Semaphore) -> Callable[[], str]:
    def open_table() -> str:
        begun.release()
        release.wait()
        return "opened at last"

    return open_table


def test_a_table_that_hangs_while_it_opens_delays_no_other_table() -> None:
    tables: OpenedOnce[str, str] = OpenedOnce(open_seconds=0.05)
    release, begun = threading.Event(), threading.Semaphore(0)
    assert tables.get("cached", "cached", lambda: "cached") == "cached"
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"hung has not opened within 0\.05 s"):
            tables.get("hung", "hung", hanging(release, begun))
    assert begun.acquire(timeout=60)
    assert tables.get("other", "other", lambda: "other") == "other"
    assert tables.get("cached", "cached", lambda: "opened twice") == "cached"
    assert sorted(tables.opened()) == ["cached", "other"]
    release.set()
    patient: OpenedOnce[str, str] = tables
    while "opened at last" not in patient.opened():
        pass
    assert tables.get("hung", "hung", lambda: "opened twice") == "opened at last"
    assert not begun.acquire(blocking=False)  # it was opened once, however many waited


def test_concurrent_callers_share_one_opening() -> None:
    tables: OpenedOnce[str, object] = OpenedOnce()
    with ThreadPoolExecutor(8) as threads:
        assert len({id(table) for table in threads.map(lambda _: tables.get("key", "name", object), range(40))}) == 1


@pytest.mark.parametrize("error", [UsageError("wrong"), TimeoutError("its own")])
def test_a_failed_opening_is_raised_and_tried_again_by_the_next_caller(error: Exception) -> None:
    tables: OpenedOnce[str, str] = OpenedOnce()

    def fail() -> str:
        raise error

    with pytest.raises(type(error), match=str(error)):
        tables.get("key", "name", fail)
    assert tables.get("key", "name", lambda: "opened") == "opened"


def test_a_forgotten_table_is_opened_anew() -> None:
    tables: OpenedOnce[str, str] = OpenedOnce()
    assert tables.get("key", "name", lambda: "first") == "first"
    tables.forget("key")
    assert tables.get("key", "name", lambda: "second") == "second"
