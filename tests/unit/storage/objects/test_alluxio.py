"""The HTTP store against a server with Alluxio's S3 interface, and with faults."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import ForbiddenPath, ObjectCorrupt, ObjectMissing, Unavailable, UsageError
from storage.objects.alluxio import AlluxioHttpStore
from storage.objects.protocol import ObjectStat
from storage.uri import ObjectUri
from tests.servers.alluxio.server import AlluxioServer, serving_alluxio
from tests.servers.faults import Rule, WireFault

CLIP = ObjectUri("videos", "2025/clip.mp4")
CONTENT = bytes(range(256)) * 10_000


@pytest.fixture
def server() -> Iterator[AlluxioServer]:
    with serving_alluxio({"videos/2025/clip.mp4": CONTENT}) as server:
        yield server


@pytest.fixture
def store(server: AlluxioServer) -> AlluxioHttpStore:
    return AlluxioHttpStore(server.url)


def fetched(store: AlluxioHttpStore, uri: ObjectUri = CLIP, stat: ObjectStat | None = None) -> bytes:
    into = io.BytesIO()
    store.fetch(uri, stat or store.stat(uri), into)
    return into.getvalue()


def test_a_stat_is_one_head_and_a_fetch_one_get(server: AlluxioServer, store: AlluxioHttpStore) -> None:
    assert store.stat(CLIP).size_bytes == len(CONTENT)
    assert fetched(store) == CONTENT
    assert server.requests == ["HEAD /videos/2025/clip.mp4"] * 2 + ["GET /videos/2025/clip.mp4"]


def test_an_empty_object_is_an_object(server: AlluxioServer, store: AlluxioHttpStore) -> None:
    server.objects["videos/2025/clip.mp4"] = b""
    assert fetched(store) == b""


def test_a_prefix_of_the_url_is_kept(server: AlluxioServer) -> None:
    server.objects["api/v1/s3/videos/2025/clip.mp4"] = b"behind the proxy"
    assert fetched(AlluxioHttpStore(f"{server.url}/api/v1/s3/")) == b"behind the proxy"


@pytest.mark.parametrize(
    "key",
    ["a/b/c.mp4", "sp ace+plus&.mp4", "映像/été.mp4", "%2e%2e", "%2e%2e/x", "a?b#c", "...", "~a", "a;b=c,d:@!$'()*"],
)
def test_keys_are_used_literally(server: AlluxioServer, store: AlluxioHttpStore, key: str) -> None:
    server.objects[f"videos/{key}"] = key.encode()
    assert fetched(store, ObjectUri("videos", key)) == key.encode()


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "a/", ".", "..", "../others/a", "a/../../others/a", "a/./b", "\ud800"]
)
def test_a_key_with_dot_or_empty_segments_is_never_sent(
    server: AlluxioServer, store: AlluxioHttpStore, key: str
) -> None:
    server.objects["others/a"] = b"secret"
    with pytest.raises(ForbiddenPath):
        store.stat(ObjectUri("videos", key))
    with pytest.raises(ForbiddenPath):
        store.fetch(ObjectUri("videos", key), ObjectStat(6, ""), io.BytesIO())
    assert server.requests == []


def test_an_absent_object_is_missing(store: AlluxioHttpStore) -> None:
    with pytest.raises(ObjectMissing, match=r"other\.mp4 is not at http"):
        store.stat(ObjectUri("videos", "other.mp4"))


@pytest.mark.parametrize("status", [400, 401, 403, 405, 429, 500, 503])
def test_any_other_answer_is_unavailable(server: AlluxioServer, store: AlluxioHttpStore, status: int) -> None:
    server.wire.faults.add(Rule(WireFault("status", status=status)))
    with pytest.raises(Unavailable, match=f"answer {status}"):
        store.stat(CLIP)


def test_a_redirect_is_not_followed(server: AlluxioServer, store: AlluxioHttpStore) -> None:
    server.objects["elsewhere"] = b"secret"
    server.wire.faults.add(
        Rule(WireFault("status", status=307, headers={"Location": f"{server.url}/elsewhere"}), times=1)
    )
    with pytest.raises(Unavailable, match="answer 307"):
        store.stat(CLIP)
    assert server.requests == ["HEAD /videos/2025/clip.mp4"]


def test_a_stopped_server_is_unavailable() -> None:
    with serving_alluxio() as server:
        url = server.url
    with pytest.raises(Unavailable, match="refused"):
        AlluxioHttpStore(url).stat(CLIP)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_server_that_hangs_is_unavailable_after_the_timeout(server: AlluxioServer, method: str) -> None:
    store = AlluxioHttpStore(server.url, timeout_seconds=0.2)
    stat = store.stat(CLIP)
    server.wire.faults.add(Rule(WireFault("hang", seconds=60), method))
    with pytest.raises(Unavailable, match="timed out"):
        fetched(store, stat=stat if method == "GET" else None)


def test_a_broken_connection_is_resumed_at_the_same_byte(server: AlluxioServer, store: AlluxioHttpStore) -> None:
    server.wire.faults.add(Rule(WireFault("truncate"), "GET", times=2))
    assert fetched(store) == CONTENT
    assert [request for request in server.requests if request.startswith("GET")] == ["GET /videos/2025/clip.mp4"] * 3


def test_a_connection_that_breaks_repeatedly_is_unavailable(server: AlluxioServer, store: AlluxioHttpStore) -> None:
    server.wire.faults.add(Rule(WireFault("truncate"), "GET"))
    with pytest.raises(Unavailable, match="broke off after"):
        fetched(store)


def test_a_connection_that_breaks_without_bytes_is_not_repeated(server: AlluxioServer, store: AlluxioHttpStore) -> None:
    server.wire.faults.add(Rule(WireFault("reset"), "GET"))
    with pytest.raises(Unavailable):
        fetched(store)
    assert sum(request.startswith("GET") for request in server.requests) == 1


def test_a_trickling_answer_ends_at_the_total_limit(server: AlluxioServer) -> None:
    store = AlluxioHttpStore(server.url, total_seconds=0.2)
    server.wire.faults.add(Rule(WireFault("trickle", seconds=0.01), "GET"))
    with pytest.raises(Unavailable, match=r"took over 0\.2 s in total"):
        fetched(store)


def test_an_object_replaced_between_stat_and_fetch_is_refused(server: AlluxioServer, store: AlluxioHttpStore) -> None:
    stat = store.stat(CLIP)
    server.objects["videos/2025/clip.mp4"] = CONTENT[::-1]
    with pytest.raises(Unavailable, match="was replaced"):
        fetched(store, stat=stat)
    server.objects["videos/2025/clip.mp4"] = CONTENT[:-1]
    with pytest.raises(ObjectCorrupt, match="2559999 bytes instead of 2560000"):
        fetched(store, stat=stat)


def test_an_object_replaced_before_a_resumption_is_refused(store: AlluxioHttpStore, server: AlluxioServer) -> None:
    stat = store.stat(CLIP)
    server.wire.faults.add(Rule(WireFault("truncate"), "GET", times=1))

    class Replacing(io.BytesIO):
        def write(self, block: object) -> int:
            server.objects["videos/2025/clip.mp4"] = CONTENT[::-1]
            return super().write(block)  # type: ignore[arg-type]  # any buffer, as BytesIO accepts it

    with pytest.raises(Unavailable, match="was replaced"):
        store.fetch(CLIP, stat, Replacing())


def test_an_error_of_the_target_passes_through_and_the_store_keeps_working(store: AlluxioHttpStore) -> None:
    stat = store.stat(CLIP)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        store.fetch(CLIP, stat, full)
    assert fetched(store) == CONTENT


def test_a_put_is_refused_because_alluxio_is_read_only(store: AlluxioHttpStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="read only"):
        store.put(tmp_path / "x", CLIP)


@pytest.mark.parametrize(
    "url",
    ["", "worker:29998", "ftp://worker/", "http://", "http://u:p@worker:1", "http://worker:1/?a=b", "http://w/#a"],
)
def test_an_invalid_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="Alluxio URL") as caught:
        AlluxioHttpStore(url)
    assert "u:p" not in str(caught.value)
