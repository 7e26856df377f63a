from __future__ import annotations

import os
import threading

import pytest

from tasks.delivery.attempt import SharedExclusiveLock


def test_several_threads_hold_the_lock_shared_at_once() -> None:
    lock, barrier = SharedExclusiveLock(), threading.Barrier(4, timeout=10)

    def hold() -> None:
        with lock.shared():
            barrier.wait()  # passes only when all four are inside

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not barrier.broken


def test_an_exclusive_holder_is_the_only_holder_until_it_leaves() -> None:
    lock, inside, wrong, counting = SharedExclusiveLock(), 0, [], threading.Lock()

    def visit(is_alone: bool) -> None:
        nonlocal inside
        for _ in range(200):
            with lock.exclusive() if is_alone else lock.shared():
                with counting:
                    inside += 1
                os.sched_yield()  # other threads may enter now
                with counting:
                    if is_alone and inside != 1:
                        wrong.append(inside)
                    inside -= 1

    threads = [threading.Thread(target=visit, args=(number < 2,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def test_an_exclusive_request_gets_the_lock_while_shared_requests_keep_coming() -> None:
    lock, was_exclusive, stop = SharedExclusiveLock(), threading.Event(), threading.Event()

    def share() -> None:
        while not stop.is_set():
            with lock.shared():
                os.sched_yield()

    threads = [threading.Thread(target=share) for _ in range(4)]
    for thread in threads:
        thread.start()

    def request() -> None:
        with lock.exclusive():
            was_exclusive.set()

    threading.Thread(target=request).start()
    assert was_exclusive.wait(30)
    stop.set()
    for thread in threads:
        thread.join(10)


def test_an_error_inside_releases_the_lock() -> None:
    lock = SharedExclusiveLock()
    for enter in (lock.exclusive, lock.shared):
        with pytest.raises(RuntimeError), enter():
            raise RuntimeError
    with lock.exclusive():
        pass
