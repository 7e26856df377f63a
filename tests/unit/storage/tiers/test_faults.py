"""Damage in transit on every tier at once: a download returns exactly the object's bytes, or fails."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import ObjectCorrupt, Unavailable
from storage.objects.alluxio import AlluxioHttpStore
from storage.objects.directory import DirectoryStore
from storage.spool import Spool
from storage.tiers import Tier, Tiers
from storage.tiers.breaker import BreakerLimits
from storage.tiers.guard import TierLimits
from storage.uri import ObjectUri
from tests.servers.alluxio.server import AlluxioServer, serving_alluxio
from tests.servers.faults import Rule, WireFault
from tests.servers.oss.server import OssServer
from tests.unit.storage.objects.oss.oss_stores import open_store
from tests.unit.storage.tiers.tier_stores import place

OBJECTS = 60
STEADY = TierLimits(breaker=BreakerLimits(failures=10**6))  # no breaker opens: each tier shows its damage


def uri_of(number: int) -> ObjectUri:
    return ObjectUri("videos", f"{number}.mp4")


def content_of(number: int) -> bytes:
    return random.Random(number).randbytes(2000 + number)


@pytest.fixture
def oss(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "oss") as server:
        yield server


@pytest.fixture
def alluxio() -> Iterator[AlluxioServer]:
    with serving_alluxio() as server:
        yield server


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limit_bytes=10**6) as spool:
        yield spool


@pytest.fixture
def tiers(tmp_path: Path, oss: OssServer, alluxio: AlluxioServer) -> Tiers:
    """Every object on every tier; every third copy on the mount has a flipped bit, every fourth is truncated."""
    for number in range(OBJECTS):
        content, uri = content_of(number), uri_of(number)
        oss.put(uri.bucket, uri.key, content)
        alluxio.objects[f"{uri.bucket}/{uri.key}"] = content
        damaged = bytes([content[0] ^ 1]) + content[1:] if number % 3 == 0 else content
        place(tmp_path / "cpfs", damaged[:-1] if number % 4 == 0 else damaged, uri)
    made = [
        Tier("cpfs", DirectoryStore(tmp_path / "cpfs"), limits=STEADY),
        Tier("alluxio", AlluxioHttpStore(alluxio.url), needs_opt_in=True, limits=STEADY),
        Tier("oss", open_store(oss), limits=STEADY),
    ]
    return Tiers(made, max_object_bytes=10**6)


def test_a_flipped_bit_never_reaches_the_reader(
    tiers: Tiers, spool: Spool, oss: OssServer, alluxio: AlluxioServer
) -> None:
    alluxio.wire.faults.add(Rule(WireFault("flip"), "^GET", probability=0.5))
    oss.faults.add(Rule(WireFault("flip"), "^GET", probability=0.2))
    served: Counter[str] = Counter()
    for number in range(OBJECTS):
        video = tiers.download(uri_of(number), use_alluxio=True, spool=spool, holder="run:1")
        assert video.path.read_bytes() == content_of(number)
        assert video.is_verified
        served[video.tier] += 1
    assert set(served) == {"cpfs", "alluxio", "oss"}
    counters = tiers.counters()
    assert counters["cpfs"].misses == {"wrong_size": 15, "wrong_checksum": 15}
    assert set(counters["alluxio"].misses) == {"wrong_checksum"}


def test_where_every_byte_is_damaged_nothing_is_served(
    tiers: Tiers, spool: Spool, oss: OssServer, alluxio: AlluxioServer
) -> None:
    alluxio.wire.faults.add(Rule(WireFault("flip"), "^GET"))
    oss.faults.add(Rule(WireFault("flip"), "^GET"))
    for number in range(0, OBJECTS, 12):  # neither is whole on the mount
        with pytest.raises((ObjectCorrupt, Unavailable)):
            tiers.download(uri_of(number), use_alluxio=True, spool=spool, holder="run:1")
    assert spool.usage().files == 0
