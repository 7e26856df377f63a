from __future__ import annotations

import threading
import time

import pytest

from tasks.delivery.alone import Floor


def test_many_are_together_at_once() -> None:
    floor, barrier = Floor(), threading.Barrier(4, timeout=10)

    def dance() -> None:
        with floor.together():
            barrier.wait()  # passes only when all four are inside

    threads = [threading.Thread(target=dance) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not barrier.broken


def test_alone_means_nobody_else_before_during_or_until_the_end() -> None:
    floor, inside, most, wrong = Floor(), 0, 0, []
    lock = threading.Lock()

    def visit(is_alone: bool) -> None:
        nonlocal inside, most
        for _ in range(20):
            with floor.alone() if is_alone else floor.together():
                with lock:
                    inside += 1
                    most = max(most, inside)
                    if is_alone and inside != 1:
                        wrong.append(inside)
                time.sleep(0.001)
                with lock:
                    if is_alone and inside != 1:
                        wrong.append(inside)
                    inside -= 1

    threads = [threading.Thread(target=visit, args=(number < 2,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert most > 1


def test_who_waits_to_be_alone_is_not_overtaken_for_ever() -> None:
    floor, was_alone, stop = Floor(), threading.Event(), threading.Event()

    def crowd() -> None:
        while not stop.is_set():
            with floor.together():
                time.sleep(0.002)

    threads = [threading.Thread(target=crowd) for _ in range(4)]
    for thread in threads:
        thread.start()

    def suspect() -> None:
        with floor.alone():
            was_alone.set()

    threading.Thread(target=suspect).start()
    assert was_alone.wait(10)
    stop.set()
    for thread in threads:
        thread.join(10)


def test_an_error_inside_leaves_the_floor_free() -> None:
    floor = Floor()
    for enter in (floor.alone, floor.together):
        with pytest.raises(RuntimeError), enter():
            raise RuntimeError
    with floor.alone():
        pass
