"""Contract of all object stores. A new store is added by one line in ``STORES``.

The suite also runs against a real OSS if the environment names one; its objects are put below ``tamis-contract/`` and
are not deleted:

    TAMIS_TEST_OSS_ENDPOINT            https://oss-<region>.aliyuncs.com
    TAMIS_TEST_OSS_REGION              <region>
    TAMIS_TEST_OSS_ACCESS_KEY_ID       and
    TAMIS_TEST_OSS_ACCESS_KEY_SECRET   the keys; with TAMIS_TEST_OSS_SECURITY_TOKEN those of a session
    TAMIS_TEST_OSS_BUCKET              two buckets in which the keys may read and write
    TAMIS_TEST_OSS_OTHER_BUCKET
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import pytest

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.errors import ObjectCorrupt, ObjectMissing
from storage.objects.alluxio import AlluxioHttpStore
from storage.objects.directory import DirectoryStore
from storage.objects.oss import store as oss_store
from storage.objects.oss.client import OssPlace
from storage.objects.oss.store import OssStore
from storage.objects.oss.writing import PartLimits
from storage.objects.protocol import ListedStore, ObjectStat, ObjectStore
from storage.uri import ObjectUri
from tests.servers.alluxio.server import AlluxioServer, serving_alluxio
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer

PREFIX = "TAMIS_TEST_OSS_"
GIVEN = {name.removeprefix(PREFIX): value for name, value in os.environ.items() if name.startswith(PREFIX)}


@contextmanager
def directory(root: Path) -> Iterator[ObjectStore]:
    yield DirectoryStore(root)


@contextmanager
def oss(root: Path, signature: Literal["v4", "v1"] = "v4") -> Iterator[ObjectStore]:
    with OssServer(root, buckets=("videos", "others")) as server:
        place = OssPlace(server.endpoint, REGION, signature)
        keys = StaticProvider(Credentials(KEY_ID, SECRET))
        yield OssStore(place, keys, parts=PartLimits(threshold_bytes=1 << 20, part_bytes=1 << 19))


@contextmanager
def real_oss(_root: Path) -> Iterator[ObjectStore]:
    keys = Credentials(GIVEN["ACCESS_KEY_ID"], GIVEN["ACCESS_KEY_SECRET"], GIVEN.get("SECURITY_TOKEN"))
    buckets = {"videos": GIVEN["BUCKET"], "others": GIVEN["OTHER_BUCKET"]}
    store = OssStore(OssPlace(GIVEN["ENDPOINT"], GIVEN["REGION"]), StaticProvider(keys))
    yield Elsewhere(store, buckets, f"tamis-contract/{secrets.token_hex(6)}")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A store under other bucket names, below a prefix of this run."""

    store: ObjectStore
    buckets: dict[str, str]
    prefix: str

    def stat(self, uri: ObjectUri) -> ObjectStat:
        return self.store.stat(self.moved(uri))

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        self.store.fetch(self.moved(uri), stat, into)

    def put(self, path: Path, uri: ObjectUri) -> None:
        self.store.put(path, self.moved(uri))

    def moved(self, uri: ObjectUri) -> ObjectUri:
        return ObjectUri(self.buckets[uri.bucket], f"{self.prefix}/{uri.key}")


@dataclass(frozen=True, slots=True)
class FilledAlluxio:
    """The read-only HTTP store, with a ``put`` that fills the test server."""

    store: AlluxioHttpStore
    server: AlluxioServer

    def stat(self, uri: ObjectUri) -> ObjectStat:
        return self.store.stat(uri)

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        self.store.fetch(uri, stat, into)

    def put(self, path: Path, uri: ObjectUri) -> None:
        self.server.objects[f"{uri.bucket}/{uri.key}"] = path.read_bytes()


@contextmanager
def alluxio(_root: Path) -> Iterator[ObjectStore]:
    with serving_alluxio() as server:
        yield FilledAlluxio(AlluxioHttpStore(server.url), server)


STORES = {"directory": directory, "oss": oss, "oss v1": partial(oss, signature="v1")}
if GIVEN:
    STORES["real oss"] = real_oss
STORES["alluxio"] = alluxio
CLIP = ObjectUri("videos", "2025/clip.mp4")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    root = tmp_path / "root"
    root.mkdir()
    with STORES[request.param](root) as store:
        yield store


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


def test_a_key_that_was_never_put_is_missing(store: ObjectStore, put: Put) -> None:
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


def test_an_error_raised_by_the_reader_is_not_reported_as_the_stores(store: ObjectStore, put: Put) -> None:
    stat = put(b"clip")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        store.fetch(CLIP, stat, full)


@pytest.mark.parametrize("store", sorted({*STORES} - {"alluxio"}), indirect=True)
@pytest.mark.parametrize("prefix", ["", "2025/", "2025/deep/", "absent/"])
def test_a_listing_names_the_objects_below_a_prefix_with_size_and_version(
    prefix: str, store: ObjectStore, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(store, ListedStore)
    monkeypatch.setattr(oss_store, "LISTED_PER_PAGE", 2)
    keys = ["2025/clip.mp4", "2025/deep/a b.mp4", "2025/deep/é.mp4", "2025x.mp4"]
    stats = {key: put(key.encode(), ObjectUri("videos", key)) for key in keys}
    listed = {one.uri.key: one.stat for one in store.list_objects("videos", prefix)}
    assert sorted(listed) == sorted(key for key in keys if key.startswith(prefix))
    for key, found in listed.items():
        assert (found.size_bytes, found.version) == (stats[key].size_bytes, stats[key].version)
