"""The spool with failing writers and failing disks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.errors import ObjectCorrupt, SpoolFull
from storage.spool import index
from storage.spool.files import PartFile, SpoolUnavailable
from storage.spool.index import SpoolIndex
from storage.spool.spool import INDEX_NAME, Spool, SpoolUsage
from tests.unit.storage.spool.spool_children import (
    LIMIT_BYTES,
    add,
    bytes_on_disk,
    content_of,
    key_of,
    writer_of,
    writing,
)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limit_bytes=LIMIT_BYTES) as spool:
        yield spool


# ── failing writers ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "error", [ValueError("broken"), ConnectionResetError("gone"), KeyboardInterrupt(), SystemExit()]
)
def test_an_error_of_the_writer_passes_through_and_leaves_nothing(spool: Spool, error: BaseException) -> None:
    def write(into: BinaryIO) -> None:
        into.write(b"half")
        raise error

    with pytest.raises(type(error)) as caught:
        spool.add(key_of("a"), 150, "run:1", write)
    assert caught.value is error
    assert spool.usage() == SpoolUsage(0, 0, LIMIT_BYTES, files=0, leases=0)
    assert bytes_on_disk(spool.root) == 0
    assert add(spool, "a", "run:1").read_bytes() == content_of("a")


@pytest.mark.parametrize("length", [0, 149, 151, 100_000])
def test_another_number_of_bytes_than_stated_is_corrupt(spool: Spool, length: int) -> None:
    with pytest.raises(ObjectCorrupt, match="150"):
        spool.add(key_of("a"), 150, "run:1", writing(b"x" * length))
    assert spool.usage() == SpoolUsage(0, 0, LIMIT_BYTES, files=0, leases=0)
    assert bytes_on_disk(spool.root) == 0


def test_an_index_on_a_full_disk_is_spool_full(tmp_path: Path) -> None:
    with closing(SpoolIndex(tmp_path / INDEX_NAME)) as opened:
        with opened.transaction() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")  # stands for a disk without room
        with (
            pytest.raises(SpoolFull, match=r"index-1\.sqlite3: database or disk is full; free its disk"),
            opened.transaction() as connection,
        ):
            index.reserve(connection, "x" * 1_000_000, 150, now=0.0)
        with opened.transaction() as connection:
            assert index.current(connection, "x" * 1_000_000) is None
            index.reserve(connection, key_of("a"), 150, now=0.0)


def test_a_writer_may_truncate_and_start_again(spool: Spool) -> None:
    def write(into: BinaryIO) -> None:
        into.write(b"x" * 150)
        into.seek(0)
        into.truncate()
        writer_of("a")(into)

    assert spool.add(key_of("a"), 150, "run:1", write).read_bytes() == content_of("a")


# ── failing disks ─────────────────────────────────────────────────────────


def test_a_full_disk_is_spool_full_with_path_and_remedy(tmp_path: Path) -> None:
    with PartFile(tmp_path / "file.part", 150) as part:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, part.fileno())  # every later write fails with ENOSPC
        os.close(full)
        with pytest.raises(SpoolFull, match=r"file\.part: No space left on device; free space on its disk"):
            part.write(b"x")


def test_a_full_disk_leaves_no_reservation(spool: Spool) -> None:
    def write(into: BinaryIO) -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, into.fileno())
        os.close(full)
        into.write(b"x")

    with pytest.raises(SpoolFull, match="No space left on device"):
        spool.add(key_of("a"), 150, "run:1", write)
    assert spool.usage() == SpoolUsage(0, 0, LIMIT_BYTES, files=0, leases=0)
    assert bytes_on_disk(spool.root) == 0


@pytest.mark.parametrize("size_bytes", [0, 149, 151])
def test_a_file_of_another_length_is_not_returned_as_whole(spool: Spool, size_bytes: int) -> None:
    path = add(spool, "a", "run:1")
    spool.release_all("run:1")
    os.truncate(path, size_bytes)
    assert spool.lease(key_of("a"), "run:1") is None
    again = add(spool, "a", "run:1")
    os.truncate(again, size_bytes)
    assert add(spool, "a", "run:2").read_bytes() == content_of("a")


def test_a_vanished_file_is_downloaded_again_and_not_counted(spool: Spool) -> None:
    add(spool, "a", "run:1").unlink()
    assert spool.lease(key_of("a"), "run:2") is None
    assert spool.usage().used_bytes == 0
    assert add(spool, "a", "run:2").read_bytes() == content_of("a")


def test_a_part_file_of_a_rolled_back_transaction_is_replaced(spool: Spool) -> None:
    (spool.root / f"{key_of('a')}-1.part").write_bytes(b"left by a crash, before its row was committed")
    assert add(spool, "a", "run:1").read_bytes() == content_of("a")


def test_a_directory_emptied_during_a_write_is_unavailable(spool: Spool) -> None:
    def write(into: BinaryIO) -> None:
        writer_of("a")(into)
        for path in spool.root.glob("*.part"):
            path.unlink()

    def write_slowly(into: BinaryIO) -> None:
        write(into)
        with Spool(spool.root, limit_bytes=LIMIT_BYTES) as other:
            other.reclaim()

    for writer, message in ((write, "No such file"), (write_slowly, "reservation of .* is gone")):
        with pytest.raises(SpoolUnavailable, match=message):
            spool.add(key_of("a"), 150, "run:1", writer)
    assert spool.usage() == SpoolUsage(0, 0, LIMIT_BYTES, files=0, leases=0)


def test_a_damaged_index_is_unavailable_with_a_remedy(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    root.mkdir()
    (root / INDEX_NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(SpoolUnavailable, match=r"not a database; .*delete"):
        Spool(root, limit_bytes=1)
