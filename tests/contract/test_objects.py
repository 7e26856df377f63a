"""What every object store promises. A new store joins by one line in ``STORES``."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import ObjectCorrupt, ObjectMissing
from storage.objects.local import DirectoryStore
from storage.objects.protocol import ObjectStat, ObjectStore
from storage.uri import ObjectUri

STORES: dict[str, Callable[[Path], ObjectStore]] = {"directory": DirectoryStore}
CLIP = ObjectUri("videos", "2025/clip.mp4")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    root = tmp_path / "root"
    root.mkdir()
    return STORES[request.param](root)


@pytest.fixture
def put(store: ObjectStore, tmp_path: Path) -> Callable[[bytes, ObjectUri], ObjectStat]:
    def put(content: bytes, uri: ObjectUri = CLIP) -> ObjectStat:
        path = tmp_path / "source"
        path.write_bytes(content)
        store.put(path, uri)
        return store.stat(uri)

    return put


Put = Callable[..., ObjectStat]


def fetched(store: ObjectStore, uri: ObjectUri, stat: ObjectStat) -> bytes:
    into = io.BytesIO()
    store.fetch(uri, stat, into)
    return into.getvalue()


@pytest.mark.parametrize("content", [b"", b"x", b"block" * 500_000], ids=["empty", "one byte", "several blocks"])
def test_what_was_put_is_fetched(store: ObjectStore, put: Put, content: bytes) -> None:
    stat = put(content)
    assert stat.size_bytes == len(content)
    assert fetched(store, CLIP, stat) == content


@pytest.mark.parametrize(
    "key", ["a", "a/b/c/d/e.mp4", "sp ace+plus&.mp4", "映像/été.mp4", "%2e%2e", ".hidden", "a?b#c"]
)
def test_keys_are_taken_literally(store: ObjectStore, put: Put, key: str) -> None:
    uri = ObjectUri("videos", key)
    assert fetched(store, uri, put(key.encode(), uri)) == key.encode()


def test_a_key_that_nobody_put_is_missing(store: ObjectStore, put: Put) -> None:
    stat = put(b"clip")
    absent = ObjectUri("videos", "2025/other.mp4")
    with pytest.raises(ObjectMissing, match=r"other\.mp4"):
        store.stat(absent)
    with pytest.raises(ObjectMissing, match=r"other\.mp4"):
        fetched(store, absent, stat)


def test_the_prefix_of_a_key_is_no_object(store: ObjectStore, put: Put) -> None:
    put(b"clip")
    with pytest.raises(ObjectMissing):
        store.stat(ObjectUri("videos", "2025"))


def test_buckets_do_not_share_keys(store: ObjectStore, put: Put) -> None:
    put(b"clip")
    with pytest.raises(ObjectMissing):
        store.stat(ObjectUri("others", CLIP.key))


def test_other_bytes_replace_the_object_and_change_its_version(store: ObjectStore, put: Put) -> None:
    before = put(b"before")
    after = put(b"after!")
    assert before.version != after.version
    assert fetched(store, CLIP, after) == b"after!"


def test_the_same_bytes_again_leave_the_version_as_it_is(store: ObjectStore, put: Put) -> None:
    assert put(b"clip" * 400_000) == put(b"clip" * 400_000)


@pytest.mark.parametrize("size_bytes", [0, 3, 5])
def test_another_size_than_stated_is_corrupt(store: ObjectStore, put: Put, size_bytes: int) -> None:
    version = put(b"clip").version
    with pytest.raises(ObjectCorrupt, match=r"clip\.mp4"):
        fetched(store, CLIP, ObjectStat(size_bytes, version))


def test_a_fault_of_the_reader_is_not_blamed_on_the_store(store: ObjectStore, put: Put) -> None:
    stat = put(b"clip")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        store.fetch(CLIP, stat, full)
