from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import ForbiddenPath, ObjectMissing, Unavailable
from storage.objects.oss.store import OssStore
from storage.uri import ObjectUri
from tests.servers.faults import Rule, WireFault
from tests.servers.oss.server import OssServer
from tests.unit.storage.objects.oss.oss_stores import CLIP, LIMITS, PARTS, asked, open_store

SMALL = random.Random(1).randbytes(70_000)
LARGE = random.Random(2).randbytes(10 * PARTS.part_bytes + 7)  # 11 parts
BOTH = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["one request", "parts"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "oss") as server:
        yield server


@pytest.fixture
def store(server: OssServer) -> OssStore:
    return open_store(server)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "crop.mp4"


@BOTH
def test_a_file_is_stored_once(server: OssServer, store: OssStore, source: Path, content: bytes) -> None:
    source.write_bytes(content)
    store.put(source, CLIP)
    assert server.objects() == {("videos", CLIP.key): content}
    assert not server.shelf.uploads
    version, sent = store.stat(CLIP).version, len(asked(server, "PUT"))
    store.put(source, CLIP)
    assert len(asked(server, "PUT")) == sent == (1 if content is SMALL else 11)
    assert store.stat(CLIP).version == version


@BOTH
def test_other_bytes_of_the_same_size_replace_the_object(
    server: OssServer, store: OssStore, source: Path, content: bytes
) -> None:
    for stored in (content, content[::-1]):
        source.write_bytes(stored)
        store.put(source, CLIP)
        assert server.objects() == {("videos", CLIP.key): stored}


@BOTH
def test_bytes_damaged_in_transit_are_refused_and_sent_again(
    server: OssServer, store: OssStore, source: Path, content: bytes
) -> None:
    source.write_bytes(content)
    server.faults.add(Rule(WireFault("flip_upload"), "PUT", times=2))
    store.put(source, CLIP)
    assert server.objects() == {("videos", CLIP.key): content}
    assert asked(server, "PUT").count(400) == 2


@BOTH
def test_bytes_that_are_always_damaged_are_never_stored(
    server: OssServer, store: OssStore, source: Path, content: bytes
) -> None:
    source.write_bytes(content)
    server.faults.add(Rule(WireFault("flip_upload"), "PUT"))
    with pytest.raises(Unavailable, match="InvalidDigest"):
        store.put(source, CLIP)
    assert not server.objects()
    assert not server.shelf.uploads


def test_a_part_that_cannot_be_sent_aborts_the_upload(server: OssServer, store: OssStore, source: Path) -> None:
    source.write_bytes(LARGE)
    server.faults.add(Rule(WireFault("status", 503), "partNumber=4&|partNumber=4$"))
    with pytest.raises(Unavailable, match="503"):
        store.put(source, CLIP)
    assert not server.objects()
    assert not server.shelf.uploads
    assert asked(server, "DELETE") == [204]


@pytest.mark.parametrize("lost", ["POST .*uploadId", "POST .*uploads", "PUT .*partNumber", "HEAD"])
def test_a_lost_reply_neither_duplicates_nor_corrupts(
    server: OssServer, store: OssStore, source: Path, lost: str
) -> None:
    source.write_bytes(LARGE)
    server.faults.add(Rule(WireFault("lose_reply"), lost, times=2))
    store.put(source, CLIP)
    assert server.objects() == {("videos", CLIP.key): LARGE}


def test_a_completed_upload_whose_replies_were_lost_is_recognised(
    server: OssServer, store: OssStore, source: Path
) -> None:
    source.write_bytes(LARGE)
    server.faults.add(Rule(WireFault("lose_reply"), "POST .*uploadId"))
    with pytest.raises(Unavailable):  # completed at once; the other replies are «no such upload»
        store.put(source, CLIP)
    server.faults.clear()
    version = store.stat(CLIP).version
    store.put(source, CLIP)
    assert store.stat(CLIP).version == version
    assert server.objects() == {("videos", CLIP.key): LARGE}
    assert not server.shelf.uploads


def test_a_lost_reply_of_a_put_is_put_again(server: OssServer, store: OssStore, source: Path) -> None:
    source.write_bytes(SMALL)
    server.faults.add(Rule(WireFault("lose_reply"), "PUT", times=LIMITS.attempts - 1))
    store.put(source, CLIP)
    assert server.objects() == {("videos", CLIP.key): SMALL}


def test_a_put_to_a_denied_or_absent_bucket_names_the_reason(server: OssServer, store: OssStore, source: Path) -> None:
    source.write_bytes(SMALL)
    server.denied.add("videos")
    with pytest.raises(ForbiddenPath, match="policy"):
        store.put(source, CLIP)
    with pytest.raises(ObjectMissing, match="no such bucket"):
        store.put(source, ObjectUri("absent", "crop.mp4"))


def test_a_put_of_a_missing_source_raises_file_not_found(server: OssServer, store: OssStore, source: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put(source, CLIP)
    assert not server.requests
