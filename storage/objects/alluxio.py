"""Alluxio over its S3-style HTTP interface: GET and HEAD on ``http://worker:29998/bucket/key``.

Alluxio states no checksum: its bytes are compared with the checksum of the object store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from storage.errors import ForbiddenPath, ObjectCorrupt, ObjectMissing, Unavailable, UsageError
from storage.objects.protocol import ObjectStat
from storage.uri import ObjectUri

BLOCK_BYTES = 1 << 20
_RESUMPTIONS = 2  # of one fetch after a broken connection; each must have received bytes
_MISSING = frozenset({404, 410})


class AlluxioHttpStore:
    """Objects at ``url/bucket/key``, read only. Thread-safe; open it after a fork.

    ``timeout_seconds`` limits the connection attempt and each wait for bytes, ``total_seconds`` one whole fetch.
    Redirects are not followed.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 20.0, total_seconds: float = 300.0) -> None:
        self.url = check_url(url)
        self._total_seconds = total_seconds
        self._pool = urllib3.PoolManager(
            maxsize=16, timeout=urllib3.Timeout(connect=min(timeout_seconds, 5.0), read=timeout_seconds), retries=False
        )

    def stat(self, uri: ObjectUri) -> ObjectStat:
        """Return the size, and a version made of ETag, modification time and size, as far as Alluxio states them."""
        with self._faults(uri), self._answer("HEAD", uri) as answer:
            return _stat(uri, answer)

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        """Stream the object in blocks of up to 1 MiB; after a broken connection, continue at the same byte."""
        done_bytes, error = 0, None
        deadline = time.monotonic() + self._total_seconds
        for _ in range(1 + _RESUMPTIONS):
            more_bytes, error = self._read(uri, stat, done_bytes, into, deadline)
            done_bytes += more_bytes
            if error is None or not more_bytes:
                break
        if error is not None:
            raise Unavailable(f"{uri} at {self.url} broke off after {done_bytes} bytes: {error}") from error
        if done_bytes != stat.size_bytes:
            raise ObjectCorrupt(f"{uri} at {self.url} ended after {done_bytes} of {stat.size_bytes} bytes")

    def put(self, path: Path, uri: ObjectUri) -> None:
        """Raise ``UsageError``: Alluxio is a cache of another store, and read only here."""
        raise UsageError(f"{path} cannot be put at {self.url} as {uri}: Alluxio is read only here; set an object store")

    def _read(
        self, uri: ObjectUri, stat: ObjectStat, start: int, into: BinaryIO, deadline: float
    ) -> tuple[int, HTTPError | None]:
        """Read from ``start`` on; return the number of bytes received, and the error if the connection broke."""
        done_bytes = 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._faults(uri), self._answer("GET", uri, headers) as answer:
            self._check_same(uri, stat, answer, start)
            while True:
                if time.monotonic() >= deadline:
                    raise Unavailable(f"{uri} at {self.url} took over {self._total_seconds:g} s in total")
                try:  # read1 returns what is there: a trickle cannot delay the check of the deadline
                    block = answer.read1(BLOCK_BYTES, decode_content=False)
                except HTTPError as error:
                    return done_bytes, error
                if not block:
                    return done_bytes, None
                into.write(block)
                done_bytes += len(block)

    def _check_same(self, uri: ObjectUri, stat: ObjectStat, answer: urllib3.BaseHTTPResponse, start: int) -> None:
        if answer.status != (206 if start else 200):
            raise Unavailable(f"{uri} at {self.url} cannot be resumed at byte {start}: answer {answer.status}")
        found = _stat(uri, answer, start)
        if found.size_bytes != stat.size_bytes:
            raise ObjectCorrupt(f"{uri} at {self.url} has {found.size_bytes} bytes instead of {stat.size_bytes}")
        if found.version != stat.version:
            raise Unavailable(f"{uri} at {self.url} was replaced while it was read; fetch it again")

    @contextmanager
    def _answer(
        self, method: str, uri: ObjectUri, headers: dict[str, str] | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        answer = self._pool.request(
            method, self.url + _path(uri), headers=headers, preload_content=False, redirect=False
        )
        with ExitStack() as undo:
            undo.callback(answer.close)  # an unread body must not be taken for the next answer
            self._check_status(uri, answer.status)
            yield answer
            undo.pop_all()
        answer.release_conn()

    def _check_status(self, uri: ObjectUri, status: int) -> None:
        if status in {200, 206}:
            return
        if status in _MISSING:
            raise ObjectMissing(f"{uri} is not at {self.url}")
        remedy = "; allow anonymous reads, or mount Alluxio instead" if status in {401, 403} else ""
        raise Unavailable(f"{uri} at {self.url}: answer {status}{remedy}")

    @contextmanager
    def _faults(self, uri: ObjectUri) -> Iterator[None]:
        try:
            yield
        except HTTPError as error:
            raise Unavailable(f"{uri} at {self.url}: {error}") from error


def check_url(url: str) -> str:
    """Return ``http(s)://host[:port][/prefix]`` without a ``/`` at its end, or raise ``UsageError``."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"{url!r} is not an Alluxio URL: write http://worker:29998")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(f"the Alluxio URL for {parts.hostname!r} takes no user, query or fragment")
    return url.rstrip("/")


def _stat(uri: ObjectUri, answer: urllib3.BaseHTTPResponse, start: int = 0) -> ObjectStat:
    length = (
        answer.headers.get("Content-Range", "").rpartition("/")[2]
        if start
        else answer.headers.get("Content-Length", "")
    )
    if not length.isdecimal():
        raise Unavailable(f"{uri}: Alluxio states no size ({length!r}); is the URL that of its S3 interface?")
    version = "-".join((answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""), length))
    return ObjectStat(int(length), version)


def _path(uri: ObjectUri) -> str:
    """Return ``/bucket/key``, percent-encoded; refuse dot segments, which an HTTP client would resolve."""
    segments = [uri.bucket, *uri.key.split("/")]
    if not {"", ".", ".."}.isdisjoint(segments):
        raise ForbiddenPath(f"{uri!r} has a segment that may lead elsewhere")
    try:
        return "".join(f"/{quote(segment, safe='')}" for segment in segments)
    except UnicodeEncodeError as error:
        raise ForbiddenPath(f"{uri!r} is not valid Unicode") from error
