"""The spool between processes, some of which are killed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from storage.spool import Spool
from tests.unit.storage.spool.spool_children import (
    LIMIT_BYTES,
    add,
    bytes_on_disk,
    content_of,
    key_of,
    start,
    writing,
)


def half_written(root: Path) -> subprocess.Popen[str]:
    child = start("hang", root)
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_a_writer_killed_half_way_leaves_no_file_and_its_key_is_taken_over(root: Path) -> None:
    child = half_written(root)
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.usage().reserved_bytes == 150
        assert spool.reclaim() == 0
        kill(child)
        assert spool.lease(key_of("a"), "run:1") is None
        assert add(spool, "a", "run:1").read_bytes() == content_of("a")
        assert bytes_on_disk(root) == spool.usage().used_bytes == 150


def test_bytes_reserved_by_the_dead_are_given_to_the_living_when_room_is_short(root: Path) -> None:
    kill(half_written(root))
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.usage().reserved_bytes == 150
        spool.add(key_of("large"), LIMIT_BYTES, "run:1", writing(bytes(LIMIT_BYTES)))
        assert bytes_on_disk(root) == LIMIT_BYTES


def test_reclaim_drops_what_the_dead_were_writing(root: Path) -> None:
    kill(half_written(root))
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.reclaim() == 1
        assert (spool.usage().reserved_bytes, bytes_on_disk(root)) == (0, 0)


def test_a_waiter_takes_over_from_a_writer_that_is_killed_meanwhile(root: Path) -> None:
    child = half_written(root)
    waiter = start("download_slowly", root)
    kill(child)
    assert waiter.communicate(timeout=60)[0].encode() == content_of("a")


def test_processes_that_want_one_key_download_it_once(root: Path) -> None:
    children = [start("download_slowly", root) for _ in range(4)]
    assert [child.communicate(timeout=60)[0].encode() for child in children] == [content_of("a")] * 4
    assert (root.parent / "downloads.log").read_text() == "downloaded\n"


def test_processes_that_compete_never_pass_the_limit_nor_see_a_half_file(root: Path) -> None:
    children = [start("compete", root, 150) for _ in range(4)]
    answers = [child.communicate(timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * 4
    assert all(int(added) > 10 for _, added in answers)
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.usage().leases == spool.usage().reserved_bytes == 0
        assert spool.usage().used_bytes == bytes_on_disk(root)


def test_processes_killed_while_they_compete_leave_a_spool_that_works(root: Path) -> None:
    survivor = start("compete", root, 300)
    for milliseconds in range(0, 40, 4):
        child = start("compete", root, 10_000)
        assert child.stdout is not None
        child.stdout.readline()
        try:
            child.wait(timeout=milliseconds / 1000)
        except subprocess.TimeoutExpired:
            kill(child)
    survivor.communicate(timeout=60)
    assert survivor.returncode == 0
    with Spool(root, limit_bytes=LIMIT_BYTES, lease_seconds=-1) as spool:
        spool.reclaim()
        assert spool.usage().reserved_bytes == 0
        assert spool.usage().used_bytes == bytes_on_disk(root) <= LIMIT_BYTES


def test_a_process_killed_at_any_line_leaves_a_spool_that_works(root: Path) -> None:
    driver = start("die_at_every_line", root)
    lines, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0
    assert int(lines) > 300


def test_a_spool_carried_over_a_fork_refuses_the_child_and_serves_the_parent(root: Path) -> None:
    assert start("fork", root).communicate(timeout=60)[0] == "7 True\n"
