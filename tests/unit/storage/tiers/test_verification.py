"""A copy on a fast tier is accepted only if it equals the object store's statement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import ObjectCorrupt, ObjectTooLarge, Unavailable
from storage.spool import Spool
from storage.tiers import SpooledVideo, Tier, Tiers
from tests.unit.storage.tiers.tier_stores import CLIP, CONTENT, WatchedStore, place

OTHER = CONTENT[::-1]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limit_bytes=2000) as spool:
        yield spool


@pytest.fixture
def cpfs(tmp_path: Path) -> WatchedStore:
    (tmp_path / "cpfs").mkdir()
    return WatchedStore(tmp_path / "cpfs")


@pytest.fixture
def oss(tmp_path: Path) -> WatchedStore:
    (tmp_path / "oss").mkdir()
    return WatchedStore(tmp_path / "oss", states_checksum=True)


@pytest.fixture
def tiers(cpfs: WatchedStore, oss: WatchedStore) -> Tiers:
    return Tiers([Tier("cpfs", cpfs), Tier("oss", oss)], max_object_bytes=900)


def download(tiers: Tiers, spool: Spool, holder: str = "run:1") -> SpooledVideo:
    return tiers.download(CLIP, use_alluxio=True, spool=spool, holder=holder)


def test_an_equal_copy_is_a_hit_after_one_head(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root)
    place(oss.root)
    video = download(tiers, spool)
    assert (video.tier, video.is_verified, video.path.read_bytes()) == ("cpfs", True, CONTENT)
    assert oss.asked == {"stat": 1}
    assert tiers.counters()["cpfs"].unverified == 0


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", b"y" * 901])
def test_a_copy_of_another_size_is_a_miss_and_is_not_read(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore, content: bytes
) -> None:
    place(cpfs.root, content)
    place(oss.root)
    video = download(tiers, spool)
    assert (video.tier, video.path.read_bytes()) == ("oss", CONTENT)
    assert video.misses["cpfs"].startswith("wrong_size: ")
    assert f"{len(content)} bytes where the object store states 400" in video.misses["cpfs"]
    assert cpfs.asked == {"stat": 1}
    assert tiers.counters()["cpfs"].misses == {"wrong_size": 1}


def test_a_copy_with_another_checksum_is_a_miss(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root, OTHER)
    place(oss.root)
    video = download(tiers, spool)
    assert (video.tier, video.path.read_bytes()) == ("oss", CONTENT)
    assert video.misses["cpfs"].startswith("wrong_checksum: ")
    assert spool.usage().used_bytes == len(CONTENT)


def test_without_a_stated_checksum_no_hit_is_verified(spool: Spool, cpfs: WatchedStore, tmp_path: Path) -> None:
    origin = WatchedStore(tmp_path / "origin")
    place(origin.root)
    tiers = Tiers([Tier("cpfs", cpfs), Tier("oss", origin)], max_object_bytes=900)
    assert (download(tiers, spool).tier, download(tiers, spool, "run:2").is_verified) == ("oss", False)
    place(cpfs.root, OTHER)
    spool.release_all("run:1")
    hit = download(tiers, spool, "run:3")
    assert (hit.tier, hit.is_verified) == ("cpfs", False)
    assert (tiers.counters()["oss"].unverified, tiers.counters()["cpfs"].unverified) == (2, 1)


def test_a_miss_costs_no_second_head(tiers: Tiers, spool: Spool, oss: WatchedStore) -> None:
    place(oss.root)
    download(tiers, spool)
    assert oss.asked == {"stat": 1, "fetch": 1}


def test_after_a_failed_read_the_object_store_is_asked_again(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root, OTHER)
    place(oss.root)
    download(tiers, spool)
    assert oss.asked == {"stat": 2, "fetch": 1}


def test_one_object_from_two_tiers_is_one_file_in_the_spool(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(oss.root)
    from_oss = download(tiers, spool)
    place(cpfs.root)
    from_cpfs = download(tiers, spool, "run:2")
    assert (from_oss.tier, from_cpfs.tier) == ("oss", "cpfs")
    assert from_oss.path == from_cpfs.path
    assert (cpfs.asked["fetch"], tiers.counters()["cpfs"].reused) == (0, 1)


def test_while_the_object_store_is_unavailable_the_fast_tier_serves_its_copy(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root)
    oss.fails.add("stat")
    video = download(tiers, spool)
    assert (video.tier, video.is_verified) == ("cpfs", False)
    assert tiers.counters()["cpfs"].unverified == 1


def test_an_object_unknown_to_the_object_store_is_served_by_the_fast_tier(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore
) -> None:
    place(cpfs.root)
    video = download(tiers, spool)
    assert (video.tier, video.is_verified) == ("cpfs", False)


def test_an_unavailable_object_store_without_copies_is_asked_once(
    tiers: Tiers, spool: Spool, oss: WatchedStore
) -> None:
    oss.fails.add("stat")
    with pytest.raises(Unavailable, match="oss: oss says later"):
        download(tiers, spool)
    assert oss.asked == {"stat": 1}
    assert tiers.counters()["oss"].misses == {"store_unavailable": 1}


def test_the_stated_size_is_compared_with_the_limit(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(oss.root, b"x" * 901)
    place(cpfs.root)
    with pytest.raises(ObjectTooLarge, match="901 bytes, over the limit of 900"):
        download(tiers, spool)
    assert not cpfs.asked


def test_without_the_origin_check_a_copy_is_served_unverified(
    spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root, b"stale")
    place(oss.root)
    tiers = Tiers([Tier("cpfs", cpfs), Tier("oss", oss)], max_object_bytes=900, checks_origin=False)
    video = download(tiers, spool)
    assert (video.tier, video.is_verified, video.path.read_bytes()) == ("cpfs", False, b"stale")
    assert not oss.asked


def test_a_single_store_is_asked_once(spool: Spool, oss: WatchedStore) -> None:
    place(oss.root)
    video = download(Tiers([Tier("oss", oss)], max_object_bytes=900), spool)
    assert video.is_verified
    assert oss.asked == {"stat": 1, "fetch": 1}


def test_the_origin_is_never_an_opt_in_tier(cpfs: WatchedStore, oss: WatchedStore) -> None:
    tiers = Tiers([Tier("cpfs", cpfs), Tier("alluxio", oss, needs_opt_in=True)], max_object_bytes=900)
    assert tiers.origin is cpfs


def test_a_stale_copy_beside_a_failing_object_store_is_retryable(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root, b"stale")
    place(oss.root)
    oss.fails.add("fetch")
    with pytest.raises(Unavailable) as caught:
        download(tiers, spool)
    assert not isinstance(caught.value, ObjectCorrupt)
