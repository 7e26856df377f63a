"""Uploading a file to OSS: in one request, or in parts sent in parallel."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fastcrc import crc64
from oss2.models import PartInfo

from storage.errors import Unavailable
from storage.objects.oss.answers import OssFailure, broken
from storage.objects.oss.client import OssClient
from storage.objects.oss.tries import Tries, TryLimits, retrying
from storage.uri import ObjectUri

log = logging.getLogger(__name__)

MAX_PARTS = 10_000
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PartLimits:
    """Limits of an upload in parts. At most ``parallel * part_bytes`` bytes of a file are in memory."""

    threshold_bytes: int = 16 << 20
    part_bytes: int = 8 << 20  # OSS takes 100 KiB to 5 GiB
    parallel: int = 4


@dataclass(frozen=True, slots=True)
class MeasuredFile:
    """A file with the size and checksum that it had when it was read."""

    path: Path
    size_bytes: int
    crc64: int


def measure(path: Path) -> MeasuredFile:
    """Read the file for its size and CRC-64."""
    with path.open("rb") as opened:
        size_bytes, crc = 0, crc64.xz(b"")
        while block := opened.read(_READ_BYTES):
            size_bytes, crc = size_bytes + len(block), crc64.xz(block, crc)
    return MeasuredFile(path, size_bytes, crc)


def put_whole(client: OssClient, uri: ObjectUri, source: MeasuredFile, limits: TryLimits) -> None:
    """Send the file in one request; OSS refuses it if its MD5 differs from the stated one."""
    body = source.path.read_bytes()
    if crc64.xz(body) != source.crc64:
        raise _changed(source)
    retrying(Tries(limits), partial(_put, client, uri, body, source.crc64))


def _put(client: OssClient, uri: ObjectUri, body: bytes, crc: int) -> int | OssFailure:
    headers = {"Content-MD5": _md5(body)}
    answer = client.ask(str(uri), uri.bucket, lambda bucket: bucket.put_object(uri.key, body, headers))
    if isinstance(answer, OssFailure):
        return answer
    return crc if answer.crc in {None, crc} else broken(str(uri), "it arrived damaged")


def put_parts(
    client: OssClient, uri: ObjectUri, source: MeasuredFile, limits: TryLimits, parts: PartLimits
) -> int | None:
    """Send the file in parts and complete the upload; return the CRC-64 that OSS states, None if the reply was lost.

    After a failure the upload is aborted, because OSS charges for the parts of an unfinished upload.
    """
    upload_id = retrying(Tries(limits), partial(_start, client, uri))
    with ExitStack() as undo:
        undo.callback(_abort, client, uri, upload_id)
        with source.path.open("rb") as opened:
            send = partial(_send_part, client, uri, upload_id, opened, limits)
            with ThreadPoolExecutor(
                parts.parallel, thread_name_prefix="oss-part"
            ) as pool:  # after a failure, no other part is started
                sent = list(pool.map(send, *zip(*_cuts(source.size_bytes, parts.part_bytes), strict=True)))
        stated = retrying(Tries(limits), partial(_complete, client, uri, upload_id, sent))
        undo.pop_all()
    return stated


def _start(client: OssClient, uri: ObjectUri) -> str | OssFailure:
    answer = client.ask(str(uri), uri.bucket, lambda bucket: bucket.init_multipart_upload(uri.key).upload_id)
    return answer if isinstance(answer, OssFailure) else str(answer)


def _cuts(size_bytes: int, part_bytes: int) -> Iterator[tuple[int, range]]:
    step = max(part_bytes, -(-size_bytes // MAX_PARTS))
    for number, start in enumerate(range(0, size_bytes, step), 1):
        yield number, range(start, min(start + step, size_bytes))


def _send_part(
    client: OssClient, uri: ObjectUri, upload_id: str, opened: BinaryIO, limits: TryLimits, number: int, span: range
) -> Any:
    body = os.pread(opened.fileno(), len(span), span.start)
    return retrying(Tries(limits), partial(_put_part, client, uri, upload_id, number, body))


def _put_part(client: OssClient, uri: ObjectUri, upload_id: str, number: int, body: bytes) -> Any:
    what, headers = f"part {number} of {uri}", {"Content-MD5": _md5(body)}
    answer = client.ask(
        what, uri.bucket, lambda bucket: bucket.upload_part(uri.key, upload_id, number, body, headers=headers)
    )
    if isinstance(answer, OssFailure):
        return answer
    if answer.crc not in {None, crc64.xz(body)}:
        return broken(what, "it arrived damaged")
    return PartInfo(number, answer.etag)


def _complete(client: OssClient, uri: ObjectUri, upload_id: str, sent: list[Any]) -> int | OssFailure | None:
    answer = client.ask(
        str(uri), uri.bucket, lambda bucket: bucket.complete_multipart_upload(uri.key, upload_id, sent).crc
    )
    is_gone = isinstance(answer, OssFailure) and answer.code == "NoSuchUpload"
    return None if is_gone else answer  # completed by a request whose reply was lost, or aborted


def _abort(client: OssClient, uri: ObjectUri, upload_id: str) -> None:
    for _ in range(3):
        answer = client.ask(str(uri), uri.bucket, lambda bucket: bucket.abort_multipart_upload(uri.key, upload_id))
        if not isinstance(answer, OssFailure) or answer.code == "NoSuchUpload":
            return
    log.warning("upload %s of %s could not be aborted; a lifecycle rule for parts will remove it", upload_id, uri)


def _changed(source: MeasuredFile) -> Unavailable:
    return Unavailable(f"{source.path} changed while it was uploaded")


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
