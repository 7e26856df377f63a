"""Alibaba Cloud OSS as an object store. oss2 implements the protocol; checksums, retries and resumption are here.

The SDK retries nothing, returns damaged bytes without an error, and computes its checksum at 114 MB/s.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fastcrc import crc64

from storage.aliyun.credentials import CredentialProvider
from storage.errors import ForbiddenPath, ObjectCorrupt, ObjectMissing, Unavailable
from storage.objects.oss.answers import OssFailure, broken
from storage.objects.oss.client import OssClient, OssPlace
from storage.objects.oss.reading import blocks
from storage.objects.oss.tries import Tries, TryLimits, retrying
from storage.objects.oss.writing import MeasuredFile, PartLimits, measure, put_parts, put_whole
from storage.objects.protocol import ListedObject, ObjectStat
from storage.uri import MAX_KEY_BYTES, ObjectUri

LISTED_PER_PAGE = 1000  # objects; the most that OSS lists at once
MAX_BUFFERED_BYTES = 8 << 20  # an object up to this size is checked before its first byte is written

_CONTROL = {"Cc", "Cs"}  # control characters, halves of surrogate pairs


class OssStore:
    """Objects in OSS; ``version`` is the ETag. Thread-safe; open one per process, after any fork."""

    def __init__(
        self,
        place: OssPlace,
        provider: CredentialProvider,
        *,
        limits: TryLimits | None = None,
        parts: PartLimits | None = None,
    ) -> None:
        self._client = OssClient(place, provider)
        self._limits = limits or TryLimits()
        self._parts = parts or PartLimits()

    def stat(self, uri: ObjectUri) -> ObjectStat:
        """Return size, ETag, and the CRC-64 that OSS stores for objects written since 2017."""
        _check(uri)
        return retrying(Tries(self._limits), partial(self._head, uri))

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        """Stream the version that ``stat`` names. Of ``into``, only ``write`` is used.

        ``ObjectCorrupt`` when OSS sends the same wrong bytes twice; ``Unavailable`` when the bytes were damaged in
        transit, or when the object now has another version.
        """
        _check(uri)
        tries, wanted = Tries(self._limits), self._crc64(uri, stat)
        if stat.size_bytes > MAX_BUFFERED_BYTES:
            self._stream(uri, stat, wanted, tries, into)
        else:
            into.write(self._whole(uri, stat, wanted, tries))

    def read_range(self, uri: ObjectUri, stat: ObjectStat, start: int, length: int, into: BinaryIO) -> None:
        """Stream ``length`` bytes from ``start`` on. OSS states no checksum of a part: the caller checks the whole."""
        _check(uri)
        span = range(start, start + length)
        if start < 0 or length < 0 or span.stop > stat.size_bytes:
            raise ObjectCorrupt(f"{uri} has no bytes {start}…{span.stop}: it has {stat.size_bytes}")
        if length:
            _copy(blocks(self._client, uri, stat, span, Tries(self._limits)), into)

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """Yield the objects whose key begins with the prefix, page by page; names of folders are left out."""
        token = ""
        while True:
            page = retrying(Tries(self._limits), partial(self._list_page, bucket, prefix, token))
            for found in page.object_list:
                if not found.key.endswith("/"):
                    yield ListedObject(ObjectUri(bucket, found.key), ObjectStat(found.size, found.etag))
            if not page.is_truncated:
                return
            token = page.next_continuation_token

    def _list_page(self, bucket: str, prefix: str, token: str) -> Any:
        return self._client.ask(
            f"oss://{bucket}/{prefix}",
            bucket,
            lambda handle: handle.list_objects_v2(prefix=prefix, continuation_token=token, max_keys=LISTED_PER_PAGE),
        )

    def put(self, path: Path, uri: ObjectUri) -> None:
        """Store the file, in parts where it is large; send nothing if the object has its size and CRC-64 already."""
        _check(uri)
        source = measure(path)
        if self._holds(uri, source):
            return
        if source.size_bytes <= self._parts.threshold_bytes:
            put_whole(self._client, uri, source, self._limits)
            return
        stated = put_parts(self._client, uri, source, self._limits, self._parts)
        if stated != source.crc64 and not self._holds(uri, source):
            raise Unavailable(f"{uri}: the object in OSS differs from {path}, or the file changed; upload it again")

    def _head(self, uri: ObjectUri) -> ObjectStat | OssFailure:
        answer: Any = self._client.ask(str(uri), uri.bucket, lambda bucket: bucket.head_object(uri.key))
        if isinstance(answer, OssFailure):
            return self._stat_by_get(uri) if answer.is_unexplained_refusal else answer
        if answer.content_length is None or not answer.etag:
            return broken(str(uri), "OSS states no size or no ETag")
        return ObjectStat(answer.content_length, answer.etag, answer.server_crc)

    def _stat_by_get(self, uri: ObjectUri) -> ObjectStat | OssFailure:
        """Ask for the first byte: a proxy or a private cloud may refuse HEAD only, and a GET's error has a code."""
        answer: Any = self._client.ask(
            str(uri), uri.bucket, lambda bucket: bucket.get_object(uri.key, (0, 0)), is_streamed=True
        )
        if isinstance(answer, OssFailure):
            return answer
        answer.resp.response.close()
        whole = (answer.content_range or "").rpartition("/")[2]
        size_bytes = int(whole) if whole.isdecimal() else answer.content_length  # without a range, the whole answers
        if size_bytes is None or not answer.etag:
            return broken(str(uri), "OSS states no size or no ETag")
        return ObjectStat(size_bytes, answer.etag, answer.server_crc)

    def _holds(self, uri: ObjectUri, source: MeasuredFile) -> bool:
        try:
            found = self.stat(uri)
        except ObjectMissing:
            return False
        return (found.size_bytes, found.crc64) == (source.size_bytes, source.crc64)

    def _crc64(self, uri: ObjectUri, stat: ObjectStat) -> int | None:
        """Return the expected checksum; None for an object for which OSS stores none."""
        if stat.crc64 is not None:
            return stat.crc64
        found = self.stat(uri)
        return found.crc64 if found.version == stat.version else None

    def _whole(self, uri: ObjectUri, stat: ObjectStat, wanted: int | None, tries: Tries) -> bytes:
        readings, wrong = Tries(self._limits), list[int]()
        while True:
            content = b"".join(blocks(self._client, uri, stat, range(stat.size_bytes), tries))
            found = crc64.xz(content)
            if wanted in {None, found}:
                return content
            wrong.append(found)
            is_repeated = len(wrong) > 1 and len(set(wrong)) == 1
            error = _corrupt(uri, found, wanted) if is_repeated else _damaged_in_transit(uri)
            readings.wait_after(OssFailure(error, is_retryable=True))

    def _stream(self, uri: ObjectUri, stat: ObjectStat, wanted: int | None, tries: Tries, into: BinaryIO) -> None:
        span = range(stat.size_bytes)
        found = _copy(blocks(self._client, uri, stat, span, tries), into)
        if wanted in {None, found}:
            return
        if _copy(blocks(self._client, uri, stat, span, tries), None) == found:
            raise _corrupt(uri, found, wanted)
        raise _damaged_in_transit(uri)


def _copy(received: Generator[bytes], into: BinaryIO | None) -> int:
    """Write the blocks, and return their CRC-64."""
    crc = crc64.xz(b"")
    with closing(received):  # releases the connection at once if ``into`` fails
        for block in received:
            crc = crc64.xz(block, crc)
            if into is not None:
                into.write(block)
    return crc


def _corrupt(uri: ObjectUri, found: int, wanted: int | None) -> ObjectCorrupt:
    return ObjectCorrupt(f"{uri} has CRC-64 {found} where OSS states {wanted}, every time it is read")


def _damaged_in_transit(uri: ObjectUri) -> Unavailable:
    return Unavailable(f"{uri}: its bytes were damaged in transit; fetch it again")


def _check(uri: ObjectUri) -> None:
    """Refuse keys that would address another object: HTTP clients resolve ``..`` in a URL."""
    segments = uri.key.split("/")
    if not {"", ".", ".."}.isdisjoint(segments) or not _CONTROL.isdisjoint(map(unicodedata.category, uri.key)):
        raise ForbiddenPath(f"{uri!r} has a segment that may lead elsewhere, or a control character")
    if len(uri.key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise ForbiddenPath(f"{str(uri)[:80]}… is over OSS's limit of {MAX_KEY_BYTES} bytes")
