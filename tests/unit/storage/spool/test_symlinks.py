"""Foreign files in the spool's directory are never followed, read, waited for or written to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.spool.files import part_of
from storage.spool.spool import INDEX_NAME, Spool, SpoolUsage
from tests.unit.storage.spool.spool_children import LIMIT_BYTES, add, content_of, key_of, start, writer_of


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limit_bytes=LIMIT_BYTES) as spool:
        yield spool


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.write_bytes(b"untouched" * 100)
    return path


def replace(path: Path, kind: str, outside: Path) -> None:
    """Replace the file by something else."""
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(outside if kind == "symlink" else outside.with_name("nowhere"))


def leave_half_a_file(root: Path) -> Path:
    """Kill a process while it writes ``a``; return its part file."""
    child = start("hang", root)
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    child.kill()
    child.communicate()
    (part,) = root.glob("*.part")
    return part


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "fifo"])
def test_a_part_file_replaced_after_its_writer_died_is_dropped(spool: Spool, outside: Path, kind: str) -> None:
    part = leave_half_a_file(spool.root)
    replace(part, kind, outside)
    assert spool.reclaim() == 1
    assert spool.usage() == SpoolUsage(0, 0, LIMIT_BYTES, files=0, leases=0)
    assert not part.is_symlink()
    assert not part.exists()
    assert outside.read_bytes() == b"untouched" * 100


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "fifo"])
def test_a_name_in_use_is_replaced_by_a_new_file(spool: Spool, outside: Path, kind: str) -> None:
    replace(part_of(spool.root / f"{key_of('a')}-1"), kind, outside)
    path = add(spool, "a", "run:1")
    assert path.read_bytes() == content_of("a")
    assert not path.is_symlink()
    assert outside.read_bytes() == b"untouched" * 100


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "fifo"])
def test_a_whole_file_replaced_by_something_else_is_downloaded_again(spool: Spool, outside: Path, kind: str) -> None:
    old = add(spool, "a", "run:1")
    outside.write_bytes(bytes(150))  # of the size that the index knows
    replace(old, kind, outside)
    assert spool.lease(key_of("a"), "run:2") is None
    assert spool.add(key_of("a"), 150, "run:2", writer_of("a")).read_bytes() == content_of("a")
    spool.release_all("run:1")
    assert not old.is_symlink()
    assert outside.read_bytes() == bytes(150)


def test_an_index_that_is_a_symlink_is_refused(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / INDEX_NAME).symlink_to(outside)
    with pytest.raises(UsageError, match="is a symlink; delete it"):
        Spool(tmp_path / "spool", limit_bytes=1)
    assert outside.read_bytes() == b"untouched" * 100


def test_a_directory_with_a_file_name_of_the_spool_is_kept(spool: Spool) -> None:
    stranger = spool.root / f"{key_of('a')}-7"
    stranger.mkdir()
    assert spool.reclaim() == 0
    assert stranger.is_dir()


@pytest.mark.parametrize(
    "key", ["../" * 12 + "etc/passwd", "/etc/passwd", "a" * 32 + "/../../x", "a" * 32 + "\0", "A" * 64]
)
def test_a_hostile_key_is_refused_without_an_effect(spool: Spool, key: str) -> None:
    before = sorted(spool.root.iterdir())
    calls = (
        lambda: spool.add(key, 1, "run:1", writer_of("a")),
        lambda: spool.lease(key, "run:1"),
        lambda: spool.release(key, "run:1"),
        lambda: spool.remove(key),
    )
    for call in calls:
        with pytest.raises(ValueError, match="spool keys are hex digests"):
            call()
    assert sorted(spool.root.iterdir()) == before
