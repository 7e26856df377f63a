"""The spool shared by processes, some of which are killed."""

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
    go_on,
    key_of,
    ready,
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


def test_the_key_of_a_killed_writer_is_downloaded_by_the_next_process(root: Path) -> None:
    child = half_written(root)
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.usage().reserved_bytes == 150
        assert spool.reclaim() == 0
        kill(child)
        assert spool.lease(key_of("a"), "run:1") is None
        assert add(spool, "a", "run:1").read_bytes() == content_of("a")
        assert bytes_on_disk(root) == spool.usage().used_bytes == 150


def test_reservations_of_dead_processes_are_freed_when_room_is_short(root: Path) -> None:
    kill(half_written(root))
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.usage().reserved_bytes == 150
        spool.add(key_of("large"), LIMIT_BYTES, "run:1", writing(bytes(LIMIT_BYTES)))
        assert bytes_on_disk(root) == LIMIT_BYTES


def test_reclaim_drops_reservations_of_dead_processes(root: Path) -> None:
    kill(half_written(root))
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.reclaim() == 1
        assert (spool.usage().reserved_bytes, bytes_on_disk(root)) == (0, 0)


def test_a_waiting_process_downloads_after_the_writer_is_killed(root: Path) -> None:
    child = half_written(root)
    waiter = ready(start("download_when_told", root))
    kill(child)
    assert waiter.communicate(timeout=60)[0].encode() == content_of("a")


def test_processes_with_one_key_download_it_once(root: Path) -> None:
    children = [ready(start("download_when_told", root)) for _ in range(4)]
    go_on(children)
    assert [child.communicate(timeout=60)[0].encode() for child in children] == [content_of("a")] * 4
    assert (root.parent / "downloads.log").read_text() == "downloaded\n"


def test_competing_processes_stay_within_the_limit_and_see_whole_files(root: Path) -> None:
    children = [start("compete", root, 150) for _ in range(4)]
    answers = [child.communicate(timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * 4
    assert all(int(added) > 10 for _, added in answers)
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        assert spool.usage().leases == spool.usage().reserved_bytes == 0
        assert spool.usage().used_bytes == bytes_on_disk(root)


def test_processes_killed_while_competing_leave_a_working_spool(root: Path) -> None:
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


def test_a_process_killed_at_any_line_leaves_a_working_spool(root: Path) -> None:
    driver = start("die_at_every_line", root)
    lines, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0
    assert int(lines) > 300


def test_a_spool_opened_before_a_fork_fails_in_the_child_and_works_in_the_parent(root: Path) -> None:
    assert start("fork", root).communicate(timeout=60)[0] == "7 True\n"
