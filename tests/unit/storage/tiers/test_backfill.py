from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.objects.directory import DirectoryStore
from storage.spool import Spool
from storage.tiers import SpooledVideo, Tier, Tiers
from storage.tiers.backfill import Backfill, FillLimits
from tests.unit.storage.tiers.tier_stores import CLIP, CONTENT, WatchedStore, place

ROOMY = FillLimits(floor_bytes=0)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limit_bytes=2000) as spool:
        yield spool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cpfs/videos").mkdir(parents=True)
    return tmp_path / "cpfs"


@pytest.fixture
def oss(tmp_path: Path) -> WatchedStore:
    store = WatchedStore(tmp_path / "oss", states_checksum=True)
    place(store.root)
    return store


def open_tiers(root: Path, oss: WatchedStore, limits: FillLimits = ROOMY) -> Tiers:
    cpfs = Tier("cpfs", DirectoryStore(root), backfill=Backfill(root, limits))
    return Tiers([cpfs, Tier("oss", oss)], max_object_bytes=900)


def download(tiers: Tiers, spool: Spool) -> SpooledVideo:
    return tiers.download(CLIP, use_alluxio=True, spool=spool, holder="run:1")


def fills(tiers: Tiers) -> dict[str, int]:
    return dict(tiers.counters()["cpfs"].fills)


@pytest.mark.parametrize(
    "stale", [None, b"", b"stale", CONTENT[::-1]], ids=["missing", "empty", "short", "other bytes"]
)
def test_a_video_missing_or_wrong_on_cpfs_is_filled_and_then_served_from_there(
    root: Path, oss: WatchedStore, spool: Spool, stale: bytes | None
) -> None:
    if stale is not None:
        place(root, stale)
    tiers = open_tiers(root, oss)
    assert download(tiers, spool).tier == "oss"
    assert fills(tiers) == {"filled": 1}
    assert [path.name for path in (root / "videos").iterdir()] == ["clip.mp4"]
    assert (root / "videos/clip.mp4").read_bytes() == CONTENT
    assert download(tiers, spool).tier == "cpfs"
    assert fills(tiers) == {"filled": 1}


def test_nothing_is_filled_without_a_backfill(root: Path, oss: WatchedStore, spool: Spool) -> None:
    tiers = Tiers([Tier("cpfs", DirectoryStore(root)), Tier("oss", oss)], max_object_bytes=900)
    download(tiers, spool)
    assert list((root / "videos").iterdir()) == []


def test_a_copy_that_the_object_store_did_not_confirm_is_not_filled(
    root: Path, oss: WatchedStore, spool: Spool, tmp_path: Path
) -> None:
    alluxio = WatchedStore(tmp_path / "alluxio")
    place(alluxio.root)
    oss.fails.add("stat")
    cpfs = Tier("cpfs", DirectoryStore(root), backfill=Backfill(root, ROOMY))
    tiers = Tiers([cpfs, Tier("alluxio", alluxio, needs_opt_in=True), Tier("oss", oss)], max_object_bytes=900)
    assert download(tiers, spool).tier == "alluxio"
    assert fills(tiers) == {}
    oss.fails.clear()
    assert download(tiers, spool).tier == "alluxio"
    assert fills(tiers) == {"filled": 1}


def test_a_video_without_a_stated_checksum_is_not_filled(root: Path, spool: Spool, tmp_path: Path) -> None:
    origin = WatchedStore(tmp_path / "origin")
    place(origin.root)
    tiers = open_tiers(root, origin)
    assert download(tiers, spool).tier == "oss"
    assert (fills(tiers), list((root / "videos").iterdir())) == ({}, [])


def test_a_tier_that_does_not_answer_is_not_filled(root: Path, oss: WatchedStore, spool: Spool) -> None:
    shutil.rmtree(root)
    tiers = open_tiers(root, oss)
    assert download(tiers, spool).misses["cpfs"].startswith("store_unavailable")
    assert fills(tiers) == {}


def test_an_empty_mount_point_is_not_filled(root: Path, oss: WatchedStore, spool: Spool) -> None:
    (root / "videos").rmdir()
    tiers = open_tiers(root, oss)
    assert download(tiers, spool).tier == "oss"
    assert (fills(tiers), list(root.iterdir())) == ({"no_bucket": 1}, [])


def test_a_fill_that_would_use_the_free_bytes_is_skipped(root: Path, oss: WatchedStore, spool: Spool) -> None:
    tiers = open_tiers(root, oss, FillLimits(floor_bytes=1 << 62))
    assert download(tiers, spool).tier == "oss"
    assert (fills(tiers), list((root / "videos").iterdir())) == ({"no_room": 1}, [])


def test_a_symlinked_directory_is_not_followed_out_of_the_root(
    root: Path, tmp_path: Path, spool: Spool, oss: WatchedStore
) -> None:
    (tmp_path / "outside").mkdir()
    (root / "videos").rmdir()
    (root / "videos").symlink_to(tmp_path / "outside")
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    assert Backfill(root, ROOMY).fill(source, CLIP) == "forbidden_path"
    (root / "videos").unlink()
    (root / "videos").mkdir()
    (root / "videos/clip.mp4").symlink_to(tmp_path / "outside/clip.mp4")
    assert Backfill(root, ROOMY).fill(source, CLIP) == "forbidden_path"
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_directory_at_the_object_s_path_is_not_replaced(root: Path, oss: WatchedStore, spool: Spool) -> None:
    (root / "videos/clip.mp4").mkdir()
    tiers = open_tiers(root, oss)
    assert download(tiers, spool).tier == "oss"
    assert fills(tiers) == {"forbidden_path": 1}


def test_a_fill_of_a_missing_file_returns_disk_error(root: Path, tmp_path: Path) -> None:
    assert Backfill(root, ROOMY).fill(tmp_path / "gone", CLIP) == "disk_error"


def test_a_fill_beyond_the_parallel_limit_is_skipped(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    os.mkfifo(source)  # the fill blocks here until the test writes
    backfill = Backfill(root, FillLimits(floor_bytes=0, at_once=1))
    outcomes: list[str] = []
    first = threading.Thread(target=lambda: outcomes.append(backfill.fill(source, CLIP)))
    first.start()
    with source.open("wb"):  # opens when the fill has opened its end
        assert backfill.fill(source, CLIP) == "busy"
    first.join()
    assert outcomes == ["filled"]
