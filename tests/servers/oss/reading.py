"""GET and HEAD of an object: conditions and ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import format_datetime

from tests.servers.oss.refusals import Refused
from tests.servers.oss.shelf import Stored
from tests.servers.wire import Response

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def read(stored: Stored, headers: Mapping[str, str], *, is_head: bool) -> Response:
    """Return the object, or the requested range of it."""
    _check_conditions(stored, headers)
    facts = {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": format_datetime(stored.modified, usegmt=True),
        "x-oss-object-type": stored.kind,
        "x-oss-hash-crc64ecma": str(stored.crc64),  # of the whole object, whatever the range
        "Accept-Ranges": "bytes",
        **stored.headers,
    }
    if is_head:
        return Response(200, headers=facts, content_length=stored.size_bytes)
    body = stored.path.read_bytes()
    bounds = _bounds(headers, stored.size_bytes)
    if bounds is None:
        return Response(200, body, facts)
    first, last = bounds
    return Response(
        206, body[first : last + 1], {**facts, "Content-Range": f"bytes {first}-{last}/{stored.size_bytes}"}
    )


def _check_conditions(stored: Stored, headers: Mapping[str, str]) -> None:
    if (wanted := headers.get("if-match")) and wanted.strip('"') != stored.etag:
        raise Refused(
            412, "PreconditionFailed", "At least one of the preconditions did not hold.", Condition="If-Match"
        )
    if (unwanted := headers.get("if-none-match")) and unwanted.strip('"') == stored.etag:
        raise Refused(304, "NotModified", "")


def _bounds(headers: Mapping[str, str], size_bytes: int) -> tuple[int, int] | None:
    """Return first and last byte; None for the whole object (also for an invalid range)."""
    asked = _RANGE.fullmatch(headers.get("range", ""))
    if asked is None or asked.groups() == ("", ""):
        return None
    first, last = asked.groups()
    start = int(first) if first else max(size_bytes - int(last), 0)
    end = int(last) if first and last else size_bytes - 1
    is_standard = headers.get("x-oss-range-behavior") == "standard"
    if start >= size_bytes and is_standard:
        raise Refused(416, "InvalidRange", "The requested range cannot be satisfied.")
    if start >= size_bytes or start > end or (end >= size_bytes and not is_standard):
        return None
    return start, min(end, size_bytes - 1)
