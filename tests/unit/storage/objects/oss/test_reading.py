from __future__ import annotations

import gzip
import io
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import oss2
import pytest
from fastcrc import crc64

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.errors import (
    ForbiddenPath,
    ObjectArchived,
    ObjectCorrupt,
    ObjectMissing,
    Rejected,
    StorageError,
    Unavailable,
)
from storage.objects.oss.store import MAX_BUFFERED_BYTES, OssStore
from storage.objects.oss.tries import TryLimits
from storage.objects.protocol import ObjectStat
from storage.uri import ObjectUri
from tests.servers.faults import Rule, WireFault
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer
from tests.servers.oss.signing import Key
from tests.unit.storage.objects.oss.oss_stores import CLIP, LIMITS, OnFirstWrite, asked, fetched, open_store

SMALL = random.Random(1).randbytes(70_000)
LARGE = random.Random(2).randbytes(MAX_BUFFERED_BYTES + 1_000_001)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "oss") as server:
        yield server


@pytest.fixture
def store(server: OssServer) -> OssStore:
    return open_store(server)


def put(server: OssServer, content: bytes) -> None:
    server.put(CLIP.bucket, CLIP.key, content)


# ── fetching ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stat_states_size_version_and_checksum(server: OssServer, store: OssStore) -> None:
    put(server, SMALL)
    stat = store.stat(CLIP)
    assert (stat.size_bytes, stat.crc64) == (len(SMALL), crc64.xz(SMALL))
    put(server, SMALL[::-1])
    assert store.stat(CLIP).version != stat.version


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_a_broken_connection_is_resumed_at_the_same_byte(server: OssServer, store: OssStore, content: bytes) -> None:
    put(server, content)
    server.faults.add(Rule(WireFault("truncate"), "GET", times=3))
    assert fetched(store) == content
    assert asked(server, "GET") == [200, 206, 206, 206]


def test_breaks_with_progress_between_them_do_not_use_up_the_attempts(server: OssServer, store: OssStore) -> None:
    put(server, LARGE)
    server.faults.add(Rule(WireFault("truncate"), "GET", times=3))  # each brings over 1 MiB
    server.faults.add(Rule(WireFault("reset"), "GET", times=LIMITS.attempts - 2))
    assert fetched(store) == LARGE
    assert len(asked(server, "GET")) > LIMITS.attempts


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_an_object_replaced_while_it_is_read_is_never_mixed(server: OssServer, store: OssStore, content: bytes) -> None:
    put(server, content)
    stat = store.stat(CLIP)
    server.faults.add(Rule(WireFault("truncate"), "GET", times=1))
    into = OnFirstWrite(lambda: put(server, content[::-1]))
    if content is SMALL:  # written only when it is whole and right
        store.fetch(CLIP, stat, into)
        assert into.getvalue() == content
    else:
        with pytest.raises(Unavailable, match="was replaced"):
            store.fetch(CLIP, stat, into)


def test_another_version_than_stated_is_not_fetched(server: OssServer, store: OssStore) -> None:
    put(server, SMALL)
    stat = store.stat(CLIP)
    put(server, SMALL[::-1])
    into = io.BytesIO()
    with pytest.raises(Unavailable, match="was replaced"):
        store.fetch(CLIP, stat, into)
    assert not into.getvalue()


def test_a_damaged_small_object_is_read_again_before_any_byte_is_written(server: OssServer, store: OssStore) -> None:
    put(server, SMALL)
    server.faults.add(Rule(WireFault("flip"), "GET", times=1))
    assert fetched(store) == SMALL


def test_a_small_object_damaged_differently_each_time_is_unavailable(server: OssServer, store: OssStore) -> None:
    put(server, SMALL * 20)  # over 1 MiB: the received bytes do not count as progress
    server.faults.add(Rule(WireFault("flip"), "GET", times=1))
    server.faults.add(Rule(WireFault("truncate"), "GET", times=1))  # the rest is flipped elsewhere
    server.faults.add(Rule(WireFault("flip"), "GET"))
    with pytest.raises(Unavailable, match="damaged in transit"):
        fetched(store)
    assert len(asked(server, "GET")) == LIMITS.attempts + 1


def test_a_damaged_large_object_is_unavailable_and_the_next_fetch_succeeds(server: OssServer, store: OssStore) -> None:
    put(server, LARGE)
    server.faults.add(Rule(WireFault("flip"), "GET", times=1))
    with pytest.raises(Unavailable, match="damaged in transit"):
        fetched(store)
    assert fetched(store) == LARGE


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_the_same_wrong_bytes_twice_are_corrupt(server: OssServer, store: OssStore, content: bytes) -> None:
    put(server, content)
    server.faults.add(Rule(WireFault("flip"), "GET"))
    with pytest.raises(ObjectCorrupt, match="CRC-64"):
        fetched(store)


def test_a_stat_without_a_checksum_does_not_weaken_the_check(server: OssServer, store: OssStore) -> None:
    put(server, SMALL)
    stat = store.stat(CLIP)
    server.faults.add(Rule(WireFault("flip"), "GET"))
    with pytest.raises(ObjectCorrupt, match="CRC-64"):
        store.fetch(CLIP, ObjectStat(stat.size_bytes, stat.version), io.BytesIO())


def test_an_object_stored_as_gzip_arrives_as_it_is_stored(server: OssServer, store: OssStore) -> None:
    packed = gzip.compress(SMALL)
    session = oss2.Session()
    bucket = oss2.Bucket(oss2.AuthV4(KEY_ID, SECRET), server.endpoint, "videos", session=session, region=REGION)
    bucket.put_object(CLIP.key, packed, headers={"Content-Encoding": "gzip"})
    session.session.close()
    assert fetched(store) == packed


def test_a_fetch_needs_only_a_write_method(server: OssServer, store: OssStore) -> None:
    class Sink:
        def __init__(self) -> None:
            self.write = io.BytesIO().write

    put(server, LARGE)
    store.fetch(CLIP, store.stat(CLIP), Sink())  # type: ignore[arg-type] # as a tier's guard passes it


# ── ranges ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("start", "length"), [(0, 1), (10, 5000), (0, 70_000), (69_999, 1), (5, 0)])
def test_a_range_is_read_and_resumed(server: OssServer, store: OssStore, start: int, length: int) -> None:
    put(server, SMALL)
    stat, into = store.stat(CLIP), io.BytesIO()
    server.faults.add(Rule(WireFault("truncate"), "GET", times=1))
    store.read_range(CLIP, stat, start, length, into)
    assert into.getvalue() == SMALL[start : start + length]


def test_a_range_past_the_end_is_corrupt(server: OssServer, store: OssStore) -> None:
    put(server, SMALL)
    stat = store.stat(CLIP)
    with pytest.raises(ObjectCorrupt):
        store.read_range(CLIP, stat, 0, len(SMALL) + 1, io.BytesIO())
    wrong = ObjectStat(stat.size_bytes + 1, stat.version)
    for start in (len(SMALL), 10):
        with pytest.raises(ObjectCorrupt):
            store.read_range(CLIP, wrong, start, len(SMALL) + 1 - start, io.BytesIO())


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["", "..", "a/../b", "a//b", "/a", "a/", "nul\0", "half\ud800", "x" * 1024])
def test_a_key_with_dot_segments_or_control_characters_is_refused_without_a_request(
    server: OssServer, store: OssStore, key: str
) -> None:
    with pytest.raises(ForbiddenPath):
        store.stat(ObjectUri("videos", key))
    with pytest.raises(ForbiddenPath):
        store.put(Path(__file__), ObjectUri("videos", key))
    assert not server.requests


def test_an_invalid_bucket_name_is_refused(server: OssServer, store: OssStore) -> None:
    with pytest.raises(ForbiddenPath):
        store.stat(ObjectUri("Not_a_bucket", "key"))
    with pytest.raises(ObjectMissing, match="no such bucket"):
        store.stat(ObjectUri("absent", "key"))


def refusing(server: OssServer, **credentials: str) -> StorageError:
    put(server, SMALL)
    keys = Credentials(**{"access_key_id": KEY_ID, "access_key_secret": SECRET, **credentials})
    with pytest.raises(StorageError) as caught:
        fetched(open_store(server, StaticProvider(keys)))
    assert len(server.requests) == 1  # sent once: a repetition gets the same answer
    return caught.value


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        ({"access_key_secret": "wrong"}, "SignatureDoesNotMatch.*secret, or TAMIS_OSS_REGION, is wrong"),
        ({"access_key_id": "LTAIunknown"}, "InvalidAccessKeyId.*unknown or disabled"),
        ({"security_token": "wrong"}, "InvalidSecurityToken.*token is wrong"),
    ],
)
def test_refused_keys_are_unavailable_and_name_the_setting(
    server: OssServer, credentials: dict[str, str], message: str
) -> None:
    error = refusing(server, **credentials)
    assert isinstance(error, Unavailable)
    with pytest.raises(Unavailable, match=message):
        raise error


def test_a_refusal_by_policy_is_recorded(server: OssServer) -> None:
    server.denied.add("videos")
    error = refusing(server)
    assert isinstance(error, ForbiddenPath)
    assert "policy" in str(error)
    assert "request 0000" in str(error)


def test_an_archived_object_has_a_code_of_its_own_and_the_remedy(server: OssServer, store: OssStore) -> None:
    put(server, SMALL)
    server.archived.add((CLIP.bucket, CLIP.key))
    with pytest.raises(ObjectArchived, match="restore it in OSS") as caught:
        fetched(store)
    assert caught.value.code == "object_archived"
    assert len(server.requests) == 2  # HEAD succeeds; the refused GET is not repeated


@pytest.mark.parametrize("content", [b"", b"x", SMALL], ids=["empty", "one byte", "small"])
def test_a_head_refused_without_a_code_is_replaced_by_a_get(server: OssServer, store: OssStore, content: bytes) -> None:
    put(server, content)
    stat = store.stat(CLIP)
    server.requests.clear()
    server.faults.add(Rule(WireFault("status", 403), "HEAD"))
    assert store.stat(CLIP) == stat
    assert [entry.method for entry in server.requests] == ["HEAD", "GET"]
    assert fetched(store) == content


def test_a_head_refused_without_a_code_takes_the_reason_from_the_get(server: OssServer, store: OssStore) -> None:
    server.faults.add(Rule(WireFault("status", 403), "HEAD"))
    with pytest.raises(ObjectMissing):
        store.stat(CLIP)
    wrong_keys = StaticProvider(Credentials(KEY_ID, "wrong"))
    with pytest.raises(Unavailable, match="SignatureDoesNotMatch"):
        open_store(server, wrong_keys).stat(CLIP)
    server.faults.add(Rule(WireFault("status", 403), "GET"))
    with pytest.raises(ForbiddenPath, match="without an error code"):
        store.stat(CLIP)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (WireFault("status", 301, headers={"Location": "http://127.0.0.1:1/"}), Unavailable),
        (WireFault("status", 400), Rejected),
        (WireFault("status", 404), ObjectMissing),
    ],
)
def test_a_permanent_error_is_not_retried(
    server: OssServer, store: OssStore, fault: WireFault, kind: type[StorageError]
) -> None:
    put(server, SMALL)
    server.faults.add(Rule(fault))
    with pytest.raises(kind):
        store.stat(CLIP)
    assert len(server.requests) == 1


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_temporary_error_is_retried_up_to_the_limit(server: OssServer, store: OssStore, status: int) -> None:
    put(server, SMALL)
    server.faults.add(Rule(WireFault("status", status), times=LIMITS.attempts - 1))
    assert store.stat(CLIP).size_bytes == len(SMALL)
    server.faults.clear()
    server.requests.clear()
    server.faults.add(Rule(WireFault("status", status)))
    with pytest.raises(Unavailable, match=str(status)):
        store.stat(CLIP)
    assert len(server.requests) == LIMITS.attempts


def test_a_retry_after_beyond_the_limits_ends_the_retries(server: OssServer, store: OssStore) -> None:
    server.faults.add(Rule(WireFault("status", 503, headers={"Retry-After": "60"})))
    with pytest.raises(Unavailable):
        store.stat(CLIP)
    assert len(server.requests) == 1


def test_a_server_that_hangs_is_unavailable(server: OssServer) -> None:
    server.faults.add(Rule(WireFault("hang", seconds=60)))
    limits = TryLimits(attempts=2, first_wait_seconds=0.001)
    with pytest.raises(Unavailable, match="does not answer"):
        open_store(server, limits=limits, read_timeout_seconds=0.1).stat(CLIP)


def test_a_stopped_server_is_unavailable(server: OssServer, store: OssStore) -> None:
    server.close()
    with pytest.raises(Unavailable, match="does not answer"):
        store.stat(CLIP)


def test_the_deadline_ends_endless_retries(server: OssServer) -> None:
    put(server, LARGE)
    limits = TryLimits(attempts=1000, first_wait_seconds=0.001, longest_wait_seconds=0.001, deadline_seconds=0.3)
    server.faults.add(Rule(WireFault("reset"), "GET"))
    with pytest.raises(Unavailable, match=r"0\.3 s are over"):
        fetched(open_store(server, limits=limits))


def test_the_deadline_ends_a_trickling_transfer(server: OssServer) -> None:
    put(server, SMALL)
    server.faults.add(Rule(WireFault("trickle", seconds=0.01), "GET"))
    with pytest.raises(Unavailable, match=r"0\.3 s are over"):
        fetched(open_store(server, limits=replace(LIMITS, deadline_seconds=0.3)))


# ── keys and surroundings ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_provider_is_called_before_each_request(server: OssServer) -> None:
    class Rotating:
        keys = Credentials(KEY_ID, SECRET)

        def credentials(self) -> Credentials:
            return self.keys

    put(server, SMALL)
    provider = Rotating()
    store = open_store(server, provider)
    assert fetched(store) == SMALL
    server.keys = {"STS.2": Key("other-secret", "token")}
    provider.keys = Credentials("STS.2", "other-secret", "token")
    assert fetched(store) == SMALL


def test_proxies_and_netrc_of_the_environment_are_not_used(
    server: OssServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    put(server, SMALL)
    assert fetched(open_store(server)) == SMALL
