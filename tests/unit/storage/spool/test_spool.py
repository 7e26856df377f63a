"""The spool within one process: leases, eviction, removal, reclaim, threads."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.errors import ObjectTooLarge, SpoolFull, UsageError
from storage.spool import Spool, SpoolUsage, index
from storage.spool.files import SpoolUnavailable, part_of
from storage.spool.spool import INDEX_NAME
from tests.unit.storage.spool.spool_children import LIMIT_BYTES, add, content_of, key_of, writer_of, writing


class SteppingClock:
    """Wall time set by the test; each call adds a millisecond."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        self.now += 1e-3  # gives «least recently used» an order
        return self.now


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def spool(tmp_path: Path, clock: SteppingClock) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limit_bytes=LIMIT_BYTES, lease_seconds=60, clock=clock) as spool:
        yield spool


def never(_into: BinaryIO) -> None:
    raise AssertionError("unexpected download")


def fill(spool: Spool, names: str) -> None:
    """Add files and release their leases."""
    for name in names:
        add(spool, name, "filler")
    spool.release_all("filler")


def holds(spool: Spool) -> str:
    """Return the names of the whole files."""
    names = "".join(name for name in "abcdefgh" if spool.lease(key_of(name), "reader"))
    spool.release_all("reader")
    return names


# ── adding and leasing ──────────────────────────────────────────────────────


def test_an_added_file_is_leased_and_counted(spool: Spool) -> None:
    path = add(spool, "a", "run:1")
    assert path.read_bytes() == content_of("a")
    assert spool.usage() == SpoolUsage(150, 0, LIMIT_BYTES, files=1, leases=1)


def test_a_present_file_is_not_written_again(spool: Spool) -> None:
    path = add(spool, "a", "run:1")
    assert spool.add(key_of("a"), 150, "run:2", never) == path
    assert spool.usage().leases == 2


def test_an_empty_file_is_accepted(spool: Spool) -> None:
    assert spool.add(key_of("empty"), 0, "run:1", lambda _into: None).read_bytes() == b""


def test_a_lease_on_an_absent_file_is_none(spool: Spool) -> None:
    assert spool.lease(key_of("a"), "run:1") is None


def test_two_leases_of_one_holder_count_once(spool: Spool) -> None:
    add(spool, "a", "run:1")
    assert spool.lease(key_of("a"), "run:1") == add(spool, "a", "run:1")
    assert spool.usage().leases == 1


def test_releasing_an_absent_lease_has_no_effect(spool: Spool) -> None:
    add(spool, "a", "run:1")
    spool.release(key_of("a"), "run:2")
    spool.release(key_of("b"), "run:1")
    spool.release_all("run:3")
    assert spool.usage().leases == 1


def test_release_ends_one_lease_and_release_all_every_lease_of_the_holder(spool: Spool) -> None:
    for name, holder in (("a", "run:1"), ("b", "run:1"), ("c", "run:1"), ("a", "run:2")):
        add(spool, name, holder)
    spool.release(key_of("a"), "run:1")
    assert spool.usage().leases == 3
    spool.release_all("run:1")
    assert spool.usage().leases == 1


def test_every_holder_of_a_lease_is_listed_once(spool: Spool) -> None:
    add(spool, "a", "run:1")
    add(spool, "b", "run:1")
    spool.lease(key_of("a"), "run:2")
    assert sorted(spool.holders()) == ["run:1", "run:2"]
    spool.release_all("run:1")
    assert spool.holders() == ["run:2"]


def test_another_size_under_the_same_key_is_downloaded_again(spool: Spool) -> None:
    old = add(spool, "a", "run:1")
    new = spool.add(key_of("a"), 3, "run:2", writing(b"new"))
    assert (old.read_bytes(), new.read_bytes()) == (content_of("a"), b"new")


@pytest.mark.parametrize("key", ["", "../" * 20, "A" * 64, "a" * 31, "g" * 64, "a" * 64 + "\n"])
def test_keys_are_hex_digests(spool: Spool, key: str) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: spool.add(key, 1, "run:1", never),
        lambda: spool.lease(key, "run:1"),
        lambda: spool.release(key, "run:1"),
        lambda: spool.remove(key),
    )
    for call in calls:
        with pytest.raises(ValueError, match="hex digests"):
            call()


# ── the limit ───────────────────────────────────────────────────────────────


def test_the_least_recently_used_file_is_evicted_first(spool: Spool) -> None:
    fill(spool, "abcf")  # 150 + 200 + 250 + 100
    spool.lease(key_of("a"), "run:1")
    spool.release(key_of("a"), "run:1")
    fill(spool, "e")  # 350
    assert holds(spool) == "acef"


def test_nothing_is_evicted_if_the_file_would_still_not_fit(spool: Spool) -> None:
    fill(spool, "abc")
    add(spool, "d", "run:1")
    before = spool.usage()
    with pytest.raises(SpoolFull):
        spool.add(key_of("large"), 701, "run:2", never)
    assert spool.usage() == before


def test_a_leased_file_is_not_evicted(spool: Spool) -> None:
    paths = [add(spool, name, "run:1") for name in "cde"]  # 900
    with pytest.raises(SpoolFull, match=r"no room for 150 bytes in .*: 900 leased, 0 reserved of 1000 bytes"):
        add(spool, "a", "run:2")
    assert all(path.exists() for path in paths)
    spool.release(key_of("d"), "run:1")
    add(spool, "a", "run:2")
    assert holds(spool) == "ace"


def test_a_removed_file_is_evicted_before_all_others(spool: Spool, clock: SteppingClock) -> None:
    fill(spool, "bcd")
    add(spool, "a", "run:1")
    spool.remove(key_of("a"))
    clock.now += 61
    assert spool.usage().used_bytes == 900
    add(spool, "h", "run:1")  # 200
    assert holds(spool) == "bcdh"


def test_a_file_with_an_expired_lease_is_evicted(spool: Spool, clock: SteppingClock) -> None:
    for name in "cde":
        add(spool, name, "run:1")
    clock.now += 59
    with pytest.raises(SpoolFull):
        add(spool, "a", "run:2")
    spool.lease(key_of("c"), "run:1")
    clock.now += 2
    add(spool, "a", "run:2")
    assert holds(spool) == "ace"


def test_reserved_bytes_count_before_they_are_written(spool: Spool) -> None:
    def write(into: BinaryIO) -> None:
        assert spool.usage() == SpoolUsage(0, 350, LIMIT_BYTES, files=0, leases=0)
        assert spool.has_room(650)
        assert not spool.has_room(651)
        with pytest.raises(SpoolFull, match="350 reserved"):
            spool.add(key_of("large"), 651, "run:2", never)
        writer_of("e")(into)

    spool.add(key_of("e"), 350, "run:1", write)
    assert spool.usage() == SpoolUsage(350, 0, LIMIT_BYTES, files=1, leases=1)


def test_has_room_counts_evictable_files(spool: Spool) -> None:
    fill(spool, "cde")
    assert spool.has_room(1000)
    add(spool, "c", "run:1")
    assert spool.has_room(750)
    assert not spool.has_room(751)


def test_a_file_larger_than_the_spool_is_refused(spool: Spool) -> None:
    with pytest.raises(ObjectTooLarge, match="1001 bytes is over the spool's limit of 1000"):
        spool.add(key_of("a"), 1001, "run:1", never)


def test_a_lowered_limit_is_applied_by_the_next_reclaim(spool: Spool, clock: SteppingClock) -> None:
    fill(spool, "ab")
    add(spool, "c", "run:1")
    with Spool(spool.root, limit_bytes=300, clock=clock) as smaller:
        assert not smaller.has_room(100)
        assert smaller.reclaim() == 2
        assert smaller.usage().used_bytes == 250


# ── remove and reclaim ──────────────────────────────────────────────────────


def test_a_removed_file_is_downloaded_again(spool: Spool) -> None:
    old = add(spool, "a", "run:1")
    spool.release_all("run:1")
    spool.remove(key_of("a"))
    assert not old.exists()
    assert spool.lease(key_of("a"), "run:1") is None
    assert add(spool, "a", "run:1") != old


def test_a_removed_file_is_kept_and_counted_until_its_leases_end(spool: Spool) -> None:
    old = add(spool, "a", "run:1")
    add(spool, "a", "run:2")
    spool.remove(key_of("a"))
    assert spool.lease(key_of("a"), "run:3") is None
    new = add(spool, "a", "run:3")
    spool.release(key_of("a"), "run:1")
    assert (old.exists(), spool.usage().used_bytes) == (True, 300)
    spool.release(key_of("a"), "run:2")
    assert (old.exists(), spool.usage().used_bytes) == (False, 150)
    assert new.read_bytes() == content_of("a")


def test_removing_an_absent_file_has_no_effect(spool: Spool) -> None:
    spool.remove(key_of("a"))


def test_reclaim_drops_orphaned_rows_and_files_but_no_foreign_file(spool: Spool, clock: SteppingClock) -> None:
    fill(spool, "ab")
    vanished, truncated, kept = (add(spool, name, "run:1") for name in "acd")
    vanished.unlink()
    os.truncate(truncated, 1)
    stray = spool.root / f"{key_of('stray')}-7"
    stranger = spool.root / "notes.txt"
    for path in (stray, part_of(stray), stranger):
        path.write_text("x")
    clock.now += 61
    assert spool.reclaim() == 3 + 2 + 2  # leases; a and c; the stray files
    assert spool.reclaim() == 0
    assert holds(spool) == "bd"
    assert kept.exists()
    assert stranger.exists()
    assert not stray.exists()


def test_reclaim_keeps_a_running_download(spool: Spool) -> None:
    def write(into: BinaryIO) -> None:
        with Spool(spool.root, limit_bytes=LIMIT_BYTES) as other:
            assert other.reclaim() == 0
        writer_of("a")(into)

    assert spool.add(key_of("a"), 150, "run:1", write).exists()


# ── several threads ─────────────────────────────────────────────────────────


def test_threads_with_one_key_download_it_once(spool: Spool) -> None:
    downloads = []

    def write(into: BinaryIO) -> None:
        downloads.append(threading.get_ident())
        writer_of("a")(into)

    with ThreadPoolExecutor(8) as threads:
        paths = set(threads.map(lambda n: spool.add(key_of("a"), 150, f"run:{n}", write), range(32)))
    assert len(paths) == len(downloads) == 1
    assert spool.usage().leases == 32


def test_a_waiting_thread_downloads_after_the_first_download_fails(spool: Spool) -> None:
    is_writing, may_fail = threading.Event(), threading.Event()

    def fail(_into: BinaryIO) -> None:
        is_writing.set()
        may_fail.wait()
        raise ValueError("broken")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(spool.add, key_of("a"), 150, "run:1", fail)
        is_writing.wait()
        second = threads.submit(add, spool, "a", "run:2")
        may_fail.set()
        assert isinstance(first.exception(), ValueError)
        assert second.result().read_bytes() == content_of("a")


def test_a_waiting_thread_fails_after_its_timeout(spool: Spool) -> None:
    def write(into: BinaryIO) -> None:
        with pytest.raises(SpoolUnavailable, match=r"took over 0\.05 s"):
            spool.add(key_of("a"), 150, "run:2", never, timeout_seconds=0.05)
        writer_of("a")(into)

    assert spool.add(key_of("a"), 150, "run:1", write).exists()


# ── the directory ───────────────────────────────────────────────────────────


def test_the_directory_has_mode_0700(tmp_path: Path) -> None:
    with Spool(tmp_path / "deep/er/spool", limit_bytes=1) as spool:
        assert stat.S_IMODE(spool.root.stat().st_mode) == 0o700


def test_a_directory_that_is_a_symlink_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(UsageError, match=f"spool .*{name} is a symlink or not a directory"):
            Spool(tmp_path / name, limit_bytes=1)
    assert list((tmp_path / "real").iterdir()) == []


def test_a_spool_opened_again_knows_its_files(spool: Spool) -> None:
    path = add(spool, "a", "run:1")
    spool.close()
    spool.close()
    with Spool(spool.root, limit_bytes=LIMIT_BYTES) as again:
        assert again.add(key_of("a"), 150, "run:1", never) == path


def test_a_call_on_a_closed_spool_raises_a_programming_error(spool: Spool) -> None:
    spool.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        spool.usage()


# ── cost ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def steps_of_a_row(directory: Path, files: int) -> int:
    """Return the steps of SQLite's machine for what a row's lease asks of an index of so many files."""
    spool_index, steps = index.SpoolIndex(directory / f"{files}.sqlite3"), [0]

    def count() -> int:
        steps[0] += 1
        return 0

    rows = [(f"{number:064x}", 10, number) for number in range(files)]
    with spool_index.transaction() as connection:
        connection.executemany("INSERT INTO files (key, size_bytes, state, used_at) VALUES (?, ?, 'whole', ?)", rows)
        connection.set_progress_handler(count, 1)
        assert index.totals(connection, 0).used_bytes == 10 * files
        index.oldest_unleased(connection, 0)
        index.doomed_unleased(connection, 0)
        connection.set_progress_handler(None, 0)
    spool_index.close()
    return steps[0]


def test_a_row_costs_as_much_in_a_spool_of_many_files_as_in_one_of_few(tmp_path: Path) -> None:
    assert steps_of_a_row(tmp_path, 2000) == steps_of_a_row(tmp_path, 20)


def test_an_index_of_an_earlier_release_gets_its_sums(tmp_path: Path) -> None:
    with Spool(tmp_path, limit_bytes=LIMIT_BYTES) as spool:
        add(spool, "a", "row")
    with closing(sqlite3.connect(tmp_path / INDEX_NAME)) as connection, connection:
        for name in ("sum_inserted", "sum_deleted", "sum_changed"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DROP TABLE sums")
    with Spool(tmp_path, limit_bytes=LIMIT_BYTES) as spool:
        usage = spool.usage()
    assert (usage.used_bytes, usage.files, usage.evictable_bytes) == (len(content_of("a")), 1, 0)
