"""The cache of features in a Redis of its own: a value for each video, plan and weights. It slows, and never breaks.

A value is a magic number, the seconds that the features took, the SHA-256 of the rest, and a feature file's bytes. A
value that is truncated, corrupt or of another program is a miss, and so is every error of the server.
"""

from __future__ import annotations

import hashlib
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
from storage.tiers.breaker import Breaker, BreakerLimits

MAGIC = b"tamisf1\n"
HEADER = struct.Struct("<8sd32s")  # magic, seconds, digest
PREFIX = "tamis:features:"
MOST_BYTES = 1 << 20  # of a value: pooled vectors of 500 clips; tokens are larger and are not cached
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
        joined = f"{self.content_sha256}|{self.plan_digest}|{self.model_digest}"
        return PREFIX + hashlib.sha256(joined.encode()).hexdigest()

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
    errors: int = 0  # misses because of the server, those while it is left alone included
    hit_bytes: int = 0
    saved_seconds: float = 0.0  # that the features of the hits took when they were made


class FeatureCache:
    """Features of whole videos in Redis. Thread-safe."""

    def __init__(
        self, client: redis.Redis, *, limits: BreakerLimits = LIMITS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
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
        is_answered, value = self._call("get", lambda: self._client.get(key.text))
        found = _checked(value, key) if isinstance(value, bytes) else None
        if found is None:
            self._count(misses=1, errors=int(not is_answered))
            return None
        record, values, seconds = found
        self._count(hits=1, hit_bytes=len(value) if isinstance(value, bytes) else 0, saved_seconds=seconds)
        return record, values

    def put(self, record: FeatureRecord, values: Values, seconds: float) -> None:
        """Keep the features, which took ``seconds``; ones that are too large are left out."""
        key = CacheKey(
            content_sha256=record.content_sha256, plan_digest=record.plan_digest, model_digest=record.model_digest
        )
        content = packed(record, values)
        if len(content) > MOST_BYTES:
            return
        timed = struct.pack("<d", seconds) + content
        value = HEADER.pack(MAGIC, seconds, hashlib.sha256(timed).digest()) + content
        is_answered, _ = self._call("set", lambda: self._client.set(key.text, value))
        if not is_answered:
            self._count(errors=1)

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


def open_cache(url: str) -> FeatureCache:
    """Open the cache at a Redis URL. It connects at the first call, and no call waits long."""
    return FeatureCache(
        redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    )


def _checked(value: bytes, key: CacheKey) -> tuple[FeatureRecord, Values, float] | None:
    if len(value) < HEADER.size:
        return None
    magic, seconds, digest = HEADER.unpack_from(value)
    content = value[HEADER.size :]
    if magic != MAGIC or hashlib.sha256(struct.pack("<d", seconds) + content).digest() != digest:
        return None
    try:
        record, values = unpacked(content)
    except ObjectCorrupt:
        return None
    return (record, values, seconds) if key.is_of(record) else None
