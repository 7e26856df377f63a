"""A tier that hangs or fails blocks no caller, gets no calls for a pause, and serves again when it works."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.errors import ObjectMissing, SpoolFull, TierOpen, Unavailable
from storage.objects.alluxio import AlluxioHttpStore
from storage.objects.directory import DirectoryStore
from storage.spool import Spool
from storage.tiers import SpooledVideo, Tier, Tiers
from storage.tiers.breaker import BreakerLimits, BreakerState
from storage.tiers.guard import TierLimits
from storage.tiers.time_limits import TimeLimits
from storage.uri import ObjectUri
from tests.servers.alluxio.server import serving_alluxio
from tests.servers.faults import Rule, WireFault
from tests.unit.storage.tiers.tier_stores import CLIP, CONTENT, WatchedStore, place

PATIENT = TierLimits(breaker=BreakerLimits(failures=3, pause_seconds=600))
HASTY = TierLimits(
    TimeLimits(silence_seconds=0.3, total_seconds=60, max_stuck_calls=4), BreakerLimits(failures=3, pause_seconds=600)
)
EAGER = TierLimits(breaker=BreakerLimits(failures=3, pause_seconds=0, longest_pause_seconds=0))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limit_bytes=2000) as spool:
        yield spool


@pytest.fixture
def cpfs(tmp_path: Path) -> Iterator[WatchedStore]:
    store = WatchedStore(tmp_path / "cpfs")
    place(store.root)
    yield store
    store.let_go.set()


@pytest.fixture
def oss(tmp_path: Path) -> Iterator[WatchedStore]:
    store = WatchedStore(tmp_path / "oss")
    place(store.root)
    yield store
    store.let_go.set()


def open_tiers(cpfs: WatchedStore, oss: WatchedStore, *, cpfs_limits: TierLimits, oss_limits: TierLimits) -> Tiers:
    return Tiers([Tier("cpfs", cpfs, limits=cpfs_limits), Tier("oss", oss, limits=oss_limits)], max_object_bytes=900)


def download(tiers: Tiers, spool: Spool, uri: ObjectUri = CLIP) -> SpooledVideo:
    return tiers.download(uri, use_alluxio=True, spool=spool, holder="run:1")


@pytest.mark.parametrize("kind", ["stat", "fetch"])
def test_a_mount_that_hangs_is_a_miss_until_its_breaker_opens(
    spool: Spool, cpfs: WatchedStore, oss: WatchedStore, kind: str
) -> None:
    tiers = open_tiers(cpfs, oss, cpfs_limits=HASTY, oss_limits=PATIENT)
    cpfs.hangs.add(kind)
    reasons = []
    for n in range(5):
        place(oss.root, f"{n}".encode() * 400)
        place(cpfs.root, f"{n}".encode() * 400)
        video = download(tiers, spool)
        assert video.tier == "oss"
        spool.release_all("run:1")
        reasons.append(video.misses["cpfs"].split(":")[0])
    assert reasons == ["tier_timeout"] * 3 + ["tier_open"] * 2
    assert cpfs.asked[kind] == 3
    health = tiers.counters()["cpfs"].health
    assert (health.state, health.openings, health.stuck_calls, health.abandoned_calls) == (BreakerState.OPEN, 1, 3, 3)
    assert spool.usage().reserved_bytes == 0


def test_no_more_calls_hang_than_allowed_even_with_a_closed_breaker(
    spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    limits = TierLimits(TimeLimits(silence_seconds=0.05, max_stuck_calls=2), EAGER.breaker)
    tiers = open_tiers(cpfs, oss, cpfs_limits=limits, oss_limits=PATIENT)
    cpfs.hangs.add("stat")
    reasons = [download(tiers, spool).misses["cpfs"] for _ in range(4)]
    assert [reason.split(":")[0] for reason in reasons] == ["tier_timeout"] * 2 + ["tier_open"] * 2
    assert "2 calls to cpfs hang; restart this worker" in reasons[-1]
    assert cpfs.asked["stat"] == 2


def test_a_mount_that_works_again_serves_again(spool: Spool, cpfs: WatchedStore, oss: WatchedStore) -> None:
    tiers = open_tiers(cpfs, oss, cpfs_limits=EAGER, oss_limits=PATIENT)
    cpfs.fails.add("stat")
    for _ in range(3):
        assert download(tiers, spool).tier == "oss"
    assert tiers.counters()["cpfs"].health.openings == 1
    cpfs.fails.clear()
    assert download(tiers, spool).tier == "cpfs"
    assert tiers.counters()["cpfs"].health.state is BreakerState.CLOSED


def test_a_missing_object_does_not_count_as_a_failure(spool: Spool, cpfs: WatchedStore, oss: WatchedStore) -> None:
    tiers = open_tiers(cpfs, oss, cpfs_limits=PATIENT, oss_limits=PATIENT)
    for n in range(5):
        with pytest.raises(ObjectMissing):
            download(tiers, spool, ObjectUri("videos", f"{n}.mp4"))
    assert {counters.health.state for counters in tiers.counters().values()} == {BreakerState.CLOSED}


def test_a_full_spool_does_not_count_as_a_failure_of_a_tier(
    spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    tiers = open_tiers(cpfs, oss, cpfs_limits=PATIENT, oss_limits=PATIENT)
    spool.add("a" * 32, 1900, "run:2", lambda into: into.write(bytes(1900)))
    for _ in range(5):
        with pytest.raises(SpoolFull):
            download(tiers, spool)
    assert {counters.health.state for counters in tiers.counters().values()} == {BreakerState.CLOSED}


def test_an_object_store_that_is_down_gets_no_calls_and_its_rows_wait(
    spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    tiers = open_tiers(cpfs, oss, cpfs_limits=PATIENT, oss_limits=PATIENT)
    (cpfs.root / "videos/clip.mp4").unlink()
    oss.fails.add("stat")
    for _ in range(3):
        with pytest.raises(Unavailable) as refused:
            download(tiers, spool)
        assert not isinstance(refused.value, TierOpen)
    for _ in range(50):
        with pytest.raises(TierOpen, match=r"no tier serves .*oss failed too often") as left_alone:
            download(tiers, spool)
    assert 0 < left_alone.value.wait_seconds <= 600
    assert oss.asked == {"stat": 3}


def test_while_the_origin_s_breaker_is_open_the_fast_tier_serves_unverified(
    spool: Spool, cpfs: WatchedStore, oss: WatchedStore
) -> None:
    tiers = open_tiers(cpfs, oss, cpfs_limits=PATIENT, oss_limits=HASTY)
    oss.hangs.add("stat")
    videos = [download(tiers, spool) for _ in range(5)]
    assert {(video.tier, video.is_verified) for video in videos} == {("cpfs", False)}
    assert (oss.asked["stat"], tiers.counters()["cpfs"].unverified) == (3, 5)


def test_threads_blocked_by_one_mount_all_continue(spool: Spool, cpfs: WatchedStore, oss: WatchedStore) -> None:
    tiers = open_tiers(cpfs, oss, cpfs_limits=HASTY, oss_limits=PATIENT)
    cpfs.hangs |= {"stat", "fetch"}
    with ThreadPoolExecutor(6) as threads:
        served = list(threads.map(lambda _: download(tiers, spool).tier, range(24)))
    assert served == ["oss"] * 24
    assert tiers.counters()["cpfs"].health.abandoned_calls <= 8  # six at once, and two before the third failure


def test_an_alluxio_worker_that_hangs_is_a_miss(spool: Spool, oss: WatchedStore) -> None:
    with serving_alluxio({"videos/clip.mp4": CONTENT}) as server:
        alluxio = Tier("alluxio", AlluxioHttpStore(server.url), needs_opt_in=True, limits=HASTY)
        tiers = Tiers([alluxio, Tier("oss", oss)], max_object_bytes=900)
        server.wire.faults.add(Rule(WireFault("hang", seconds=60), "GET"))
        video = download(tiers, spool)
    assert (video.tier, video.misses["alluxio"].split(":")[0]) == ("oss", "tier_timeout")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (WireFault("status", status=503), "store_unavailable"),
        (WireFault("truncate"), "store_unavailable"),
        (WireFault("flip"), "wrong_checksum"),
        (WireFault("reset"), "store_unavailable"),
    ],
)
def test_after_any_fault_of_alluxio_the_origin_serves_the_right_bytes(
    spool: Spool, tmp_path: Path, fault: WireFault, reason: str
) -> None:
    oss = WatchedStore(tmp_path / "oss", states_checksum=True)
    place(oss.root)
    with serving_alluxio({"videos/clip.mp4": CONTENT}) as server:
        alluxio = Tier("alluxio", AlluxioHttpStore(server.url), needs_opt_in=True)
        tiers = Tiers([alluxio, Tier("oss", oss)], max_object_bytes=900)
        served = download(tiers, spool)
        assert (served.tier, served.is_verified) == ("alluxio", True)
        spool.remove(served.key)
        spool.release_all("run:1")
        server.wire.faults.add(Rule(fault, "GET"))
        video = download(tiers, spool)
    assert (video.tier, video.misses["alluxio"].split(":")[0]) == ("oss", reason)
    assert video.path.read_bytes() == CONTENT


def test_a_check_asks_every_tier_and_reports_a_lost_mount(tmp_path: Path, oss: WatchedStore) -> None:
    tiers = Tiers([Tier("cpfs", DirectoryStore(tmp_path / "gone")), Tier("oss", oss)], max_object_bytes=900)
    cpfs, origin = tiers.check(ObjectUri("videos", "no-such-object"))
    assert (cpfs.name, "is not mounted" in cpfs.fault) == ("cpfs", True)
    assert (origin.name, origin.fault, origin.milliseconds > 0) == ("oss", "", True)
