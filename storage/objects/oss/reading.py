"""Reading one version of an object, over several connections where some break."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

from urllib3.exceptions import HTTPError

from storage.objects.oss.answers import OssFailure, broken, damaged
from storage.objects.oss.client import OssClient
from storage.objects.oss.tries import Tries
from storage.objects.protocol import ObjectStat
from storage.uri import ObjectUri

BLOCK_BYTES = 1 << 18


def blocks(client: OssClient, uri: ObjectUri, stat: ObjectStat, span: range, tries: Tries) -> Generator[bytes]:
    """Yield the bytes of ``span`` in order; after a broken connection, a new one continues at the same byte.

    Every request names the version of ``stat``; a block is the result of one read of the socket.
    """
    position = span.start
    while True:
        answer = _open(client, uri, stat, range(position, span.stop))
        if not isinstance(answer, OssFailure):
            with closing(answer):
                while (block := answer.read(tries)) and not isinstance(block, OssFailure):
                    position += len(block)
                    tries.progress(len(block))
                    yield block
            if not isinstance(block, OssFailure):
                return
            answer = block
        tries.wait_after(answer)


class _Reply:
    """The body of a reply, limited to ``length`` bytes."""

    def __init__(self, what: str, response: Any, length: int) -> None:
        self._what = what
        self._response = response
        self._remaining_bytes = length

    def read(self, tries: Tries) -> bytes | OssFailure:
        """Return the result of the next read of the socket; ``b""`` after the last byte."""
        if not self._remaining_bytes:
            return b""
        if tries.is_late():
            return broken(self._what, f"over {tries.limits.deadline_seconds:g} s")
        try:  # undecoded: an object stored as gzip stays gzip; read1 returns without waiting for a whole block
            block = self._response.raw.read1(min(BLOCK_BYTES, self._remaining_bytes), decode_content=False)
        except (HTTPError, OSError) as error:
            return broken(self._what, f"the connection broke ({type(error).__name__})")
        if not block:
            return broken(self._what, f"the reply ended {self._remaining_bytes} bytes early")
        self._remaining_bytes -= len(block)
        return bytes(block)

    def close(self) -> None:
        """Release the connection, or close it where bytes are left unread."""
        self._response.close()


def _open(client: OssClient, uri: ObjectUri, stat: ObjectStat, span: range) -> _Reply | OssFailure:
    is_whole = len(span) == stat.size_bytes
    headers = {"If-Match": f'"{stat.version}"', "x-oss-range-behavior": "standard"}
    asked = None if is_whole else (span.start, span.stop - 1)
    answer = client.ask(
        str(uri), uri.bucket, lambda bucket: bucket.get_object(uri.key, asked, headers), is_streamed=True
    )
    if isinstance(answer, OssFailure):
        return answer
    reply = _Reply(str(uri), answer.resp.response, len(span))
    fault = _size_fault(uri, stat, answer) if is_whole else _range_fault(uri, stat, span, answer)
    if fault is None:
        return reply
    reply.close()
    return fault


def _size_fault(uri: ObjectUri, stat: ObjectStat, answer: Any) -> OssFailure | None:
    length = answer.content_length
    if length is None or length == stat.size_bytes:
        return None
    return damaged(str(uri), f"has {length} bytes instead of {stat.size_bytes}")


def _range_fault(uri: ObjectUri, stat: ObjectStat, span: range, answer: Any) -> OssFailure | None:
    wanted = f"bytes {span.start}-{span.stop - 1}/{stat.size_bytes}"
    if answer.content_range == wanted:
        return None
    return damaged(str(uri), f"is answered by {answer.content_range or 'the whole object'} instead of {wanted}")
