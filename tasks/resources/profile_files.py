"""Files of a profile on their way from a worker to the command that asked: an expiring hash in the ledger's Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

KEEP_SECONDS = 3600
MOST_BYTES = 64 << 20  # of all files of one profile
ERROR = "error"
FILE = "file:"


@dataclass(frozen=True, slots=True)
class ProfileFiles:
    """The answer of a worker: its files by name, or an error."""

    files: Mapping[str, bytes]
    error: str | None = None


def put_files(client: redis.Redis, request_id: str, answer: ProfileFiles) -> None:
    """Store an answer; a later one of the same request replaces it."""
    key = _key(request_id)
    fields: dict[Any, Any] = {f"{FILE}{name}": one for name, one in answer.files.items()}
    if answer.error is not None:
        fields[ERROR] = answer.error.encode()
    with client.pipeline() as pipeline:
        pipeline.delete(key)
        pipeline.hset(key, mapping=fields)
        pipeline.expire(key, KEEP_SECONDS)
        pipeline.execute()


def take_files(client: redis.Redis, request_id: str) -> ProfileFiles | None:
    """Return the answer and forget it; None while there is none."""
    with client.pipeline() as pipeline:
        pipeline.hgetall(_key(request_id))
        pipeline.delete(_key(request_id))
        found, _ = pipeline.execute()
    if not found:
        return None
    texts = {name.decode(): content for name, content in found.items()}
    error = texts.pop(ERROR, None)
    files = {name.removeprefix(FILE): content for name, content in texts.items()}
    return ProfileFiles(files, None if error is None else error.decode())


def _key(request_id: str) -> str:
    return f"tamis:profile:{request_id}"
