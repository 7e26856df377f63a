"""A copy on a fast tier counts only when it is what the object store says the object is."""

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


def test_a_copy_like_the_object_is_a_hit_for_one_head(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root)
    place(oss.root)
    video = download(tiers, spool)
    assert (video.tier, video.is_verified, video.path.read_bytes()) == ("cpfs", True, CONTENT)
    assert oss.asked == {"stat": 1}
    assert tiers.counters()["cpfs"].unverified == 0


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", b"y" * 901])
def test_a_copy_of_another_size_is_a_miss_and_not_read(
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


def test_a_copy_of_the_same_size_with_other_bytes_is_a_miss_where_a_checksum_is_known(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root, OTHER)
    place(oss.root)
    video = download(tiers, spool)
    assert (video.tier, video.path.read_bytes()) == ("oss", CONTENT)
    assert video.misses["cpfs"].startswith("wrong_checksum: ")
    assert spool.usage().used_bytes == len(CONTENT)


def test_a_miss_costs_no_second_head(tiers: Tiers, spool: Spool, oss: WatchedStore) -> None:
    place(oss.root)
    download(tiers, spool)
    assert oss.asked == {"stat": 1, "fetch": 1}


def test_after_a_read_in_vain_the_object_store_is_asked_anew(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root, OTHER)
    place(oss.root)
    download(tiers, spool)
    assert oss.asked == {"stat": 2, "fetch": 1}


def test_whichever_tier_serves_it_one_object_is_one_file_in_the_spool(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(oss.root)
    from_oss = download(tiers, spool)
    place(cpfs.root)
    from_cpfs = download(tiers, spool, "run:2")
    assert (from_oss.tier, from_cpfs.tier) == ("oss", "cpfs")
    assert from_oss.path == from_cpfs.path
    assert (cpfs.asked["fetch"], tiers.counters()["cpfs"].reused) == (0, 1)


def test_while_the_object_store_is_away_the_fast_tier_serves_what_it_has(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root)
    oss.fails.add("stat")
    video = download(tiers, spool)
    assert (video.tier, video.is_verified) == ("cpfs", False)
    assert tiers.counters()["cpfs"].unverified == 1


def test_what_the_object_store_does_not_know_is_served_by_the_fast_tier_that_has_it(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore
) -> None:
    place(cpfs.root)
    video = download(tiers, spool)
    assert (video.tier, video.is_verified) == ("cpfs", False)


def test_away_and_nowhere_else_is_unavailable_after_one_question(tiers: Tiers, spool: Spool, oss: WatchedStore) -> None:
    oss.fails.add("stat")
    with pytest.raises(Unavailable, match="oss: oss says later"):
        download(tiers, spool)
    assert oss.asked == {"stat": 1}
    assert tiers.counters()["oss"].misses == {"store_unavailable": 1}


def test_the_size_that_the_object_store_states_is_held_against_the_limit(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(oss.root, b"x" * 901)
    place(cpfs.root)
    with pytest.raises(ObjectTooLarge, match="901 bytes, over the limit of 900"):
        download(tiers, spool)
    assert not cpfs.asked


def test_without_the_check_a_fast_tier_is_taken_at_its_word(
    spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root, b"stale")
    place(oss.root)
    tiers = Tiers([Tier("cpfs", cpfs), Tier("oss", oss)], max_object_bytes=900, checks_origin=False)
    video = download(tiers, spool)
    assert (video.tier, video.is_verified, video.path.read_bytes()) == ("cpfs", False, b"stale")
    assert not oss.asked


def test_a_lone_store_is_asked_once(spool: Spool, oss: WatchedStore) -> None:
    place(oss.root)
    video = download(Tiers([Tier("oss", oss)], max_object_bytes=900), spool)
    assert video.is_verified
    assert oss.asked == {"stat": 1, "fetch": 1}


def test_crops_never_go_to_a_cache(cpfs: WatchedStore, oss: WatchedStore) -> None:
    tiers = Tiers([Tier("cpfs", cpfs), Tier("alluxio", oss, needs_opt_in=True)], max_object_bytes=900)
    assert tiers.origin is cpfs


def test_a_stale_copy_where_the_object_store_fails_is_worth_a_retry(
    tiers: Tiers, spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    place(cpfs.root, b"stale")
    place(oss.root)
    oss.fails.add("fetch")
    with pytest.raises(Unavailable) as caught:
        download(tiers, spool)
    assert not isinstance(caught.value, ObjectCorrupt)
