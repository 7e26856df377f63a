"""One request in five fails, with one kind of fault at a time: every call is right or raises a typed error."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.objects.oss.store import MAX_BUFFERED_BYTES, OssStore
from storage.objects.oss.tries import TryLimits
from storage.uri import ObjectUri
from tests.servers.faults import Rule, WireFault
from tests.servers.oss.server import OssServer
from tests.unit.storage.objects.oss.oss_stores import PARTS, open_store

THREADS = 6
FAULTS = {
    "status": WireFault("status", 503),
    "throttle": WireFault("status", 429, headers={"Retry-After": "0"}),
    "slow": WireFault("slow", seconds=0.01),
    "hang": WireFault("hang", seconds=60),
    "reset": WireFault("reset"),
    "truncate": WireFault("truncate"),
    "flip": WireFault("flip"),
    "flip_upload": WireFault("flip_upload"),
    "lose_reply": WireFault("lose_reply"),
}
KINDS = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
LIMITS = TryLimits(attempts=6, first_wait_seconds=0.002, longest_wait_seconds=0.02, deadline_seconds=120)

_random = random.Random(7)
FETCHED_SIZES = [_random.randrange(60_000) for _ in range(190)]
LIMIT = MAX_BUFFERED_BYTES
FETCHED_SIZES += [1_000_000, 2_000_001, 3_000_000, 5_000_000, LIMIT, LIMIT + 1, 9_000_000, 10_000_000, 0, 1]
PUT_SIZES = [_random.randrange(60_000) for _ in range(30)] + [PARTS.threshold_bytes + 1, 600_000, 1_000_000, 0]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "oss") as server:
        yield server


@pytest.fixture
def store(server: OssServer, fault: WireFault) -> OssStore:
    return open_store(server, limits=LIMITS, read_timeout_seconds=1.0 if fault.kind == "hang" else 30.0)


def content_of(number: int, size_bytes: int) -> bytes:
    return random.Random(number).randbytes(size_bytes)


def uri_of(number: int) -> ObjectUri:
    return ObjectUri("videos", f"clips/{number:03}.mp4")


def outcomes(call: Callable[[int], bytes], count: int) -> list[bytes | StorageError]:
    """Return the result or the typed error of each call; any other error ends the test."""

    def outcome(number: int) -> bytes | StorageError:
        try:
            return call(number)
        except StorageError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(outcome, range(count)))


@KINDS
def test_every_fetch_returns_the_exact_bytes_or_a_typed_error(
    server: OssServer, store: OssStore, fault: WireFault
) -> None:
    contents = [content_of(number, size_bytes) for number, size_bytes in enumerate(FETCHED_SIZES)]
    for number, content in enumerate(contents):
        server.put("videos", uri_of(number).key, content)
    server.faults.add(Rule(fault, probability=0.2, times=30 if fault.kind == "hang" else None))

    def fetch(number: int) -> bytes:
        into = io.BytesIO()
        store.fetch(uri_of(number), store.stat(uri_of(number)), into)
        return into.getvalue()

    found = outcomes(fetch, len(contents))
    assert server.faults.injected() >= 30
    errors = [one for one in found if isinstance(one, StorageError)]
    assert all(isinstance(one, StorageError) or one == content for one, content in zip(found, contents, strict=True))
    assert len(errors) <= len(found) // 20, errors


@KINDS
def test_every_put_stores_the_exact_bytes_or_raises_a_typed_error(
    server: OssServer, store: OssStore, tmp_path: Path, fault: WireFault
) -> None:
    contents = [content_of(number, size_bytes) for number, size_bytes in enumerate(PUT_SIZES)]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}").write_bytes(content)
    server.faults.add(Rule(fault, probability=0.2, times=10 if fault.kind == "hang" else None))

    def put(number: int) -> bytes:
        store.put(tmp_path / f"{number}", uri_of(number))
        return contents[number]

    found = outcomes(put, len(contents))
    stored = server.objects()
    assert server.faults.injected() >= 5
    assert all(stored[uri.bucket, uri.key] == contents[number] for number, uri in _stored(found))
    assert set(stored.values()) <= set(contents)  # no damaged object is stored, not even after an error
    server.faults.clear()
    assert outcomes(put, len(contents)) == contents
    assert server.objects() == {("videos", uri_of(number).key): content for number, content in enumerate(contents)}


def _stored(found: list[bytes | StorageError]) -> Iterator[tuple[int, ObjectUri]]:
    return ((number, uri_of(number)) for number, one in enumerate(found) if not isinstance(one, StorageError))
