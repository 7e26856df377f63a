from __future__ import annotations

import threading

import pytest

from inference.errors import PoolTimeout, Transient
from inference.models.lending import Pool


def test_an_instance_is_lent_to_one_borrower_at_a_time():
    pool = Pool({"detector": ["a", "b"]})
    with pool.acquire("detector") as first, pool.acquire("detector") as second:
        assert {first, second} == {"a", "b"}
        assert pool.counters()["detector"].in_use == 2
    assert pool.counters()["detector"].in_use == 0
    assert pool.counters()["detector"].lent == 2


def test_no_free_instance_in_time_is_a_transient_error():
    pool = Pool({"detector": ["only"]})
    refusal = pytest.raises(PoolTimeout, match=r"no detector became free in 0.01 s \(1 in all\)")
    with pool.acquire("detector"), refusal, pool.acquire("detector", timeout_seconds=0.01):
        pass
    assert issubclass(PoolTimeout, Transient)
    counters = pool.counters()["detector"]
    assert (counters.timeouts, counters.waiting, counters.in_use) == (1, 0, 0)


def test_an_instance_comes_back_when_its_borrower_fails():
    pool = Pool({"detector": ["only"]})
    with pytest.raises(RuntimeError, match="the borrower's"), pool.acquire("detector"):
        raise RuntimeError("the borrower's")
    with pool.acquire("detector", timeout_seconds=0) as again:
        assert again == "only"


def test_borrowers_are_served_in_the_order_of_their_calls():
    pool = Pool({"detector": ["only"]})
    served: list[int] = []

    def borrow(number: int) -> None:
        with pool.acquire("detector"):
            served.append(number)

    threads = [threading.Thread(target=borrow, args=(number,)) for number in range(8)]
    with pool.acquire("detector"):
        for waiting, thread in enumerate(threads, start=1):
            thread.start()
            wait_until(lambda wanted=waiting: pool.counters()["detector"].waiting == wanted)
    for thread in threads:
        thread.join()
    assert served == list(range(8))


def test_a_borrower_that_gives_up_does_not_block_the_next():
    pool = Pool({"detector": ["only"]})
    with pool.acquire("detector"), pytest.raises(PoolTimeout), pool.acquire("detector", timeout_seconds=0.01):
        pass
    with pool.acquire("detector", timeout_seconds=0) as instance:
        assert instance == "only"


def test_many_threads_never_share_an_instance():
    pool = Pool({"detector": [set(), set()]})

    def borrow() -> None:
        for _ in range(50):
            with pool.acquire("detector") as users:
                users.add(threading.get_ident())
                assert users == {threading.get_ident()}
                users.clear()

    run_together(borrow, 6)
    assert pool.counters()["detector"].lent == 300


def test_an_unknown_name_and_an_empty_group_raise():
    with pytest.raises(KeyError), Pool({"a": [1]}).acquire("b"):
        pass
    with pytest.raises(ValueError, match="pool a has no instance"):
        Pool({"a": []})


def run_together(work, count: int) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def wait_until(is_so) -> None:
    pause = threading.Event()
    while not is_so():
        pause.wait(0.001)
