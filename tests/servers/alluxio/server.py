"""The read part of Alluxio's S3-style interface: GET and HEAD of ``/bucket/key``, ranges, no checksum."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.servers.faults import Faults
from tests.servers.wire import Request, Response, WireServer, serving

LAST_MODIFIED = "Wed, 15 Jan 2025 08:00:00 GMT"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, slots=True)
class AlluxioServer:
    """A running server and its cached objects, by ``bucket/key``."""

    wire: WireServer
    objects: dict[str, bytes] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return self.wire.url

    @property
    def requests(self) -> list[str]:
        """``METHOD target`` of every request."""
        return [f"{entry.method} {entry.target}" for entry in self.wire.requests]


@contextlib.contextmanager
def serving_alluxio(
    objects: dict[str, bytes] | None = None, *, faults: Faults | None = None
) -> Iterator[AlluxioServer]:
    """Serve for the length of the block."""
    cached = {} if objects is None else objects
    with serving(lambda request: respond(cached, request), faults=faults) as wire:
        yield AlluxioServer(wire, cached)


def respond(objects: dict[str, bytes], request: Request) -> Response:
    """Answer one request; a suffix range is answered with the whole object, as by Alluxio."""
    content = objects.get(request.path.removeprefix("/"))
    if request.method not in {"GET", "HEAD"}:
        return Response(405)
    if content is None:
        return Response(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
    headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"', "Last-Modified": LAST_MODIFIED}
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is not None:
        return _part(content, int(asked[1]), int(asked[2] or len(content) - 1), headers)
    if request.method == "HEAD":
        return Response(200, b"", headers, content_length=len(content))
    return Response(200, content, headers)


def _part(content: bytes, first: int, last: int, headers: dict[str, str]) -> Response:
    if first >= len(content):
        return Response(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    part = content[first : last + 1]
    return Response(206, part, {**headers, "Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"})
