"""The cache of features: a value for each video, plan and weights. It slows, and never breaks.

A value is a magic number, the seconds that the features took, the SHA-256 of the rest, and a feature file's bytes.
Small ones are in a Redis of their own, large ones (tokens) in files of this node, read by memory map. A value that is
truncated, corrupt or of another program is a miss, and so is every error of the server and of the disk.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.errors import ObjectCorrupt
from storage.features.files import FeatureRecord, Values, packed, unpacked
from storage.features.kept_files import KeptFiles
from storage.tiers.breaker import Breaker, BreakerLimits

log = logging.getLogger(__name__)

MAGIC = b"tamisf1\n"
HEADER = struct.Struct("<8sd32s")  # magic, seconds, digest
PREFIX = "tamis:features:"
MOST_BYTES = 1 << 20  # of a value in Redis: pooled vectors of 500 clips; tokens are larger
TIMEOUT_SECONDS = 0.5  # of a call: about what decoding a second of video takes
LIMITS = BreakerLimits(failures=3, pause_seconds=5.0, longest_pause_seconds=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """Everything on which features depend. The plan covers decoder, preprocessing, clips and dtype."""

    content_sha256: str
    plan_digest: str
    model_digest: str

    @property
    def text(self) -> str:
        """The key in Redis."""
        return PREFIX + self.digest

    @property
    def digest(self) -> str:
        """The name of the file."""
        joined = f"{self.content_sha256}|{self.plan_digest}|{self.model_digest}"
        return hashlib.sha256(joined.encode()).hexdigest()

    def is_of(self, record: FeatureRecord) -> bool:
        """Say whether these are the features of this key."""
        return (record.content_sha256, record.plan_digest, record.model_digest) == (
            self.content_sha256,
            self.plan_digest,
            self.model_digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCounters:
    """Counts since the start."""

    hits: int = 0
    misses: int = 0
    errors: int = 0  # calls that server or disk failed, those while the server is left alone included
    hit_bytes: int = 0
    saved_seconds: float = 0.0  # that the features of the hits took when they were made


class FeatureCache:
    """Features of whole videos, in Redis or in files. Thread-safe."""

    def __init__(
        self,
        client: redis.Redis,
        files: KeptFiles | None = None,
        *,
        limits: BreakerLimits = LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._files = client, files
        self._breaker = Breaker(limits, clock=clock)
        self._lock = threading.Lock()
        self._counters = CacheCounters()

    @property
    def counters(self) -> CacheCounters:
        """The current counts."""
        with self._lock:
            return self._counters

    def get(self, key: CacheKey) -> tuple[FeatureRecord, Values] | None:
        """Return the features of the key, or None."""
        is_answered, answer = self._call("get", lambda: self._client.get(key.text))
        value = bytearray(answer) if isinstance(answer, bytes) else self._kept(key)  # an array over bytes is read-only
        found = _checked(memoryview(value), key) if value is not None else None
        if value is None or found is None:
            self._count(misses=1, errors=int(not is_answered))
            return None
        record, values, seconds = found
        self._count(hits=1, hit_bytes=len(value), saved_seconds=seconds)
        return record, values

    def put(self, record: FeatureRecord, values: Values, seconds: float) -> None:
        """Keep the features, which took ``seconds``: large ones in a file, or not at all where there are none."""
        key = CacheKey(
            content_sha256=record.content_sha256, plan_digest=record.plan_digest, model_digest=record.model_digest
        )
        content = packed(record, values)
        header = HEADER.pack(MAGIC, seconds, _digest(seconds, content))
        if len(content) <= MOST_BYTES:
            is_kept, _ = self._call("set", lambda: self._client.set(key.text, header + content))
            self._count(errors=int(not is_kept))
        elif self._files is not None:
            try:
                self._files.put(key.digest, header, content)
            except OSError as error:
                self._disk_failed(error)

    def _kept(self, key: CacheKey) -> mmap.mmap | None:
        try:
            return self._files.get(key.digest) if self._files is not None else None
        except OSError as error:
            self._disk_failed(error)
            return None

    def _disk_failed(self, error: OSError) -> None:
        self._count(errors=1)
        log.warning("features are not cached on this node's disk: %s", error)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _call(self, kind: str, call: Callable[[], object]) -> tuple[bool, object]:
        """Return whether the server answered, and its answer; a server that fails again and again is left alone."""
        ticket = self._breaker.admit()
        if ticket is None:
            return False, None
        is_answered: bool | None = None
        try:
            answer = call()
            is_answered = True
        except redis.ResponseError:  # such as a full memory: this command alone failed
            is_answered = True
            return False, None
        except redis.RedisError:
            is_answered = False
            return False, None
        else:
            return True, answer
        finally:
            self._breaker.record(ticket, kind, is_answered=is_answered)

    def _count(self, **more: float) -> None:
        with self._lock:
            old = self._counters
            changes = {name: getattr(old, name) + count for name, count in more.items()}
            self._counters = replace(old, **changes)


def open_cache(url: str, files: KeptFiles | None = None) -> FeatureCache:
    """Open the cache at a Redis URL. It connects at the first call, and no call waits long."""
    return FeatureCache(
        redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ),
        files,
    )


def _checked(value: memoryview, key: CacheKey) -> tuple[FeatureRecord, Values, float] | None:
    if len(value) < HEADER.size:
        return None
    magic, seconds, digest = HEADER.unpack_from(value)
    content = value[HEADER.size :]
    if magic != MAGIC or _digest(seconds, content) != digest:
        return None
    try:
        record, values = unpacked(content)
    except ObjectCorrupt:
        return None
    return (record, values, seconds) if key.is_of(record) else None


def _digest(seconds: float, content: bytes | memoryview) -> bytes:
    timed = hashlib.sha256(struct.pack("<d", seconds))
    timed.update(content)
    return timed.digest()
