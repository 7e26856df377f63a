"""Weights from OSS, over the wire: parallel ranges, and faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.errors import ObjectCorrupt, Unavailable
from storage.objects.oss.client import OssPlace
from storage.objects.oss.store import OssStore
from storage.objects.oss.tries import TryLimits
from storage.weights import DownloadPlan, WeightsStore, read_reference
from tests.servers.faults import Rule, WireFault
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer
from tests.unit.storage.weights.weights_children import content_of, sha256_of

PART_BYTES = 100_000
CONTENT = content_of("model", parts=1000)
PIN = sha256_of(CONTENT)
PLAN = DownloadPlan(parallel_parts=4, part_bytes=PART_BYTES, attempts=3, first_wait_seconds=0.001)
MODEL = read_reference("oss://models/vfx.safetensors", PIN)
PARTS = -(-len(CONTENT) // PART_BYTES)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "oss") as server:
        server.put("models", "vfx.safetensors", CONTENT)
        yield server


@pytest.fixture
def weights(server: OssServer, tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "weights", origin_of(server), PLAN)


def origin_of(server: OssServer) -> OssStore:
    limits = TryLimits(attempts=2, first_wait_seconds=0.001)
    return OssStore(OssPlace(server.endpoint, REGION), StaticProvider(Credentials(KEY_ID, SECRET)), limits=limits)


def gets(server: OssServer) -> int:
    return sum(one.method == "GET" for one in server.requests)


def test_a_file_is_downloaded_in_parts_once(server, weights):
    assert weights.ensure(MODEL).read_bytes() == CONTENT
    assert weights.ensure(MODEL).read_bytes() == CONTENT
    assert gets(server) == PARTS
    assert [one.status for one in server.requests if one.method == "GET"] == [206] * PARTS


@pytest.mark.parametrize("kind", ["status", "reset", "truncate", "lose_reply"])
def test_temporary_faults_are_retried(server, weights, kind):
    server.faults.add(Rule(WireFault(kind), "GET", times=3, skip=2))
    assert weights.ensure(MODEL).read_bytes() == CONTENT
    assert server.faults.injected() == 3


def test_a_file_damaged_in_transit_is_downloaded_once_more(server, weights):
    server.faults.add(Rule(WireFault("flip"), "GET", times=1))
    assert weights.ensure(MODEL).read_bytes() == CONTENT
    assert gets(server) == 2 * PARTS


def test_a_file_damaged_in_every_download_is_unavailable(server, weights, tmp_path):
    server.faults.add(Rule(WireFault("flip"), "GET"))
    with pytest.raises(Unavailable, match="damaged in transit 2 times"):
        weights.ensure(MODEL)
    assert [path.suffix for path in (tmp_path / "weights" / "files").iterdir()] == [".lock"]


def test_an_object_with_another_digest_is_downloaded_once_and_refused(server, weights):
    server.put("models", "vfx.safetensors", CONTENT[::-1])
    with pytest.raises(ObjectCorrupt, match=f"SHA-256 {sha256_of(CONTENT[::-1])}, not the pinned {PIN}"):
        weights.ensure(MODEL)
    assert gets(server) == PARTS


def test_parts_present_before_an_outage_are_kept(server, weights):
    server.faults.add(Rule(WireFault("status"), "GET", skip=5))
    with pytest.raises(Unavailable):
        weights.ensure(MODEL)
    server.faults.clear()
    before = gets(server)
    assert weights.ensure(MODEL).read_bytes() == CONTENT
    assert gets(server) - before == PARTS - 5


def test_a_trickling_download_ends_at_its_total_limit_and_keeps_its_parts(server, weights, tmp_path):
    server.faults.add(Rule(WireFault("status"), "GET", skip=5))
    with pytest.raises(Unavailable):
        weights.ensure(MODEL)
    server.faults.clear()
    server.faults.add(Rule(WireFault("trickle", seconds=0.01), "GET"))
    hasty = WeightsStore(tmp_path / "weights", origin_of(server), replace(PLAN, total_seconds=0.3))
    with pytest.raises(Unavailable, match=r"bytes arrived in 0\.3 s; complete parts are kept"):
        hasty.ensure(MODEL)
    server.faults.clear()
    before = gets(server)
    assert weights.ensure(MODEL).read_bytes() == CONTENT
    assert gets(server) - before == PARTS - 5


def test_a_download_of_a_replaced_object_starts_again(server, weights):
    server.faults.add(Rule(WireFault("status"), "GET", skip=5))
    with pytest.raises(Unavailable):
        weights.ensure(MODEL)
    server.faults.clear()
    server.put("models", "vfx.safetensors", CONTENT[::-1])
    with pytest.raises(ObjectCorrupt, match=f"SHA-256 {sha256_of(CONTENT[::-1])}"):
        weights.ensure(MODEL)
