"""Contract of all stores with ranged reads. A new store is added by one entry in ``STORES``."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.errors import ObjectCorrupt, ObjectMissing, Unavailable
from storage.objects.directory import DirectoryStore
from storage.objects.oss.client import OssPlace
from storage.objects.oss.store import OssStore
from storage.objects.protocol import ObjectStat, RangedStore
from storage.uri import ObjectUri
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer

MODEL = ObjectUri("models", "vfx/model.safetensors")
CONTENT = bytes(range(256)) * 12_000  # three blocks of a directory's, and no two parts of 1000 bytes alike

Put = Callable[[ObjectUri, bytes], None]
Opened = tuple[RangedStore, Put]


@contextlib.contextmanager
def directory(root: Path) -> Iterator[Opened]:
    def put(uri: ObjectUri, content: bytes) -> None:
        path = root / uri.bucket / uri.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    yield DirectoryStore(root), put


@contextlib.contextmanager
def oss(root: Path) -> Iterator[Opened]:
    with OssServer(root) as server:
        store = OssStore(OssPlace(server.endpoint, REGION), StaticProvider(Credentials(KEY_ID, SECRET)))
        yield store, lambda uri, content: server.put(uri.bucket, uri.key, content)


STORES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Opened]]] = {"directory": directory, "oss": oss}


@pytest.fixture(params=STORES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    with STORES[request.param](tmp_path) as (store, put):
        put(MODEL, CONTENT)
        yield store, put


def ranged(store: RangedStore, start: int, length: int, stat: ObjectStat | None = None) -> bytes:
    into = io.BytesIO()
    store.read_range(MODEL, stat or store.stat(MODEL), start, length, into)
    return into.getvalue()


def test_the_store_states_that_it_supports_ranged_reads(opened: Opened) -> None:
    assert isinstance(opened[0], RangedStore)


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 1), (0, len(CONTENT)), (1, 1_500_000), (len(CONTENT) - 1, 1), (5, 0), (len(CONTENT), 0)],
)
def test_a_part_is_exactly_the_bytes_asked_for(opened: Opened, start: int, length: int) -> None:
    assert ranged(opened[0], start, length) == CONTENT[start : start + length]


def test_parts_are_read_side_by_side(opened: Opened) -> None:
    stat = opened[0].stat(MODEL)
    starts = range(0, len(CONTENT), 256_000)
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda start: ranged(opened[0], start, 256_000, stat), starts)
    assert b"".join(parts) == CONTENT


@pytest.mark.parametrize(("start", "length"), [(0, len(CONTENT) + 1), (len(CONTENT), 1), (-1, 1), (5, -1)])
def test_a_range_after_the_end_of_the_object_is_corrupt(opened: Opened, start: int, length: int) -> None:
    with pytest.raises(ObjectCorrupt, match=r"model\.safetensors"):
        ranged(opened[0], start, length)


def test_a_part_of_another_version_is_never_mixed_in(opened: Opened) -> None:
    store, put = opened
    stat = store.stat(MODEL)
    put(MODEL, CONTENT[::-1])
    with pytest.raises(Unavailable, match="replaced"):
        ranged(store, 0, 1000, stat)


def test_an_object_that_is_gone_is_missing(opened: Opened) -> None:
    with pytest.raises(ObjectMissing, match="other"):
        opened[0].read_range(ObjectUri("models", "other"), opened[0].stat(MODEL), 0, 1, io.BytesIO())


def test_an_error_raised_by_the_reader_is_not_reported_as_the_stores(opened: Opened) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        opened[0].read_range(MODEL, opened[0].stat(MODEL), 0, 1000, full)
