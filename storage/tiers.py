"""Where a video comes from: the first tier that holds it whole (CPFS, then Alluxio, then OSS)."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from storage.errors import ObjectCorrupt, ObjectMissing, ObjectTooLarge, SpoolFull, Unavailable, UsageError
from storage.objects.protocol import ObjectStat, ObjectStore
from storage.spool import Spool
from storage.spool_files import SpoolUnavailable
from storage.uri import ObjectUri

Miss = ObjectMissing | ObjectCorrupt | Unavailable


@dataclass(frozen=True, slots=True)
class Tier:
    """A store under the name it has in results and metrics; ``needs_opt_in``: asked only for rows that want Alluxio."""

    name: str
    store: ObjectStore
    needs_opt_in: bool = False


@dataclass(frozen=True, slots=True)
class SpooledVideo:
    """A whole video in the spool, leased to the one who asked for it."""

    key: str
    path: Path
    size_bytes: int
    tier: str
    misses: Mapping[str, str]  # why the tiers before it could not serve: name -> "code: message"
    milliseconds: float  # over all tiers asked


@dataclass(frozen=True, slots=True)
class TierCounters:
    """What one tier did since the process started."""

    hits: int
    reused: int  # hits whose bytes were in the spool already
    misses: Mapping[str, int]  # by error code
    fetched_bytes: int
    milliseconds: float  # hits and misses together


@dataclass(slots=True)
class _Tally:
    hits: int = 0
    reused: int = 0
    misses: Counter[str] = field(default_factory=Counter)
    fetched_bytes: int = 0
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Hit:
    key: str
    path: Path
    size_bytes: int
    is_reused: bool


class Tiers:
    """The tiers in the order in which they are asked. Thread-safe."""

    def __init__(self, tiers: Sequence[Tier], *, max_object_bytes: int) -> None:
        names = [tier.name for tier in tiers]
        if len(set(names)) < len(names):
            raise UsageError(f"tiers must have different names, not {', '.join(names)}")
        if all(tier.needs_opt_in for tier in tiers):
            named = ", ".join(names) or "none"
            raise UsageError(f"no tier serves every row (tiers: {named}); configure OSS or a directory")
        self.max_object_bytes = max_object_bytes
        self._tiers = tuple(tiers)
        self._tallies = {name: _Tally() for name in names}
        self._lock = threading.Lock()

    @property
    def origin(self) -> ObjectStore:
        """The store behind all others, the last one asked: what is made of a video is put there."""
        return self._tiers[-1].store

    def download(self, uri: ObjectUri, *, use_alluxio: bool, spool: Spool, holder: str) -> SpooledVideo:
        """Bring the object into the spool from the first tier that serves it whole, and lease it to the holder.

        Raises ``ForbiddenPath`` and ``ObjectTooLarge`` at once, and what the spool raises for itself. When no tier
        serves: ``Unavailable`` if one may do so later, else ``ObjectCorrupt`` if one has it damaged, else
        ``ObjectMissing``.
        """
        started = time.perf_counter()
        misses: dict[str, Miss] = {}
        for tier in self._tiers:
            if tier.needs_opt_in and not use_alluxio:
                continue
            answer = self._ask(tier, uri, spool, holder)
            if isinstance(answer, _Hit):
                reasons = {name: f"{miss.code}: {miss}" for name, miss in misses.items()}
                elapsed = _milliseconds_since(started)
                return SpooledVideo(answer.key, answer.path, answer.size_bytes, tier.name, reasons, elapsed)
            misses[tier.name] = answer
        raise _failure(uri, misses)

    def counters(self) -> dict[str, TierCounters]:
        """Counters by tier name, in the order in which the tiers are asked."""
        with self._lock:
            return {name: _counters(tally) for name, tally in self._tallies.items()}

    def _ask(self, tier: Tier, uri: ObjectUri, spool: Spool, holder: str) -> _Hit | Miss:
        started = time.perf_counter()
        try:
            answer: _Hit | Miss = self._fetch(tier, uri, spool, holder)
        except (SpoolFull, SpoolUnavailable):
            raise  # this node's trouble: another tier's bytes would fare no better
        except (ObjectMissing, ObjectCorrupt, Unavailable) as miss:
            answer = miss
        self._count(tier.name, answer, _milliseconds_since(started))
        return answer

    def _fetch(self, tier: Tier, uri: ObjectUri, spool: Spool, holder: str) -> _Hit:
        stat = tier.store.stat(uri)
        if stat.size_bytes > self.max_object_bytes:
            raise ObjectTooLarge(f"{uri} has {stat.size_bytes} bytes, over the limit of {self.max_object_bytes}")
        is_reused = True

        def write(into: BinaryIO) -> None:
            nonlocal is_reused
            is_reused = False
            tier.store.fetch(uri, stat, into)

        key = spool_key(uri, stat)
        path = spool.add(key, stat.size_bytes, holder, write)
        return _Hit(key, path, stat.size_bytes, is_reused)

    def _count(self, name: str, answer: _Hit | Miss, milliseconds: float) -> None:
        with self._lock:
            tally = self._tallies[name]
            tally.milliseconds += milliseconds
            if not isinstance(answer, _Hit):
                tally.misses[answer.code] += 1
                return
            tally.hits += 1
            tally.reused += answer.is_reused
            tally.fetched_bytes += 0 if answer.is_reused else answer.size_bytes


def spool_key(uri: ObjectUri, stat: ObjectStat) -> str:
    """Name the object in the spool: SHA-256 over where it stands and what the store says of it, in hex."""
    identity = json.dumps([uri.bucket, uri.key, stat.version, stat.size_bytes])
    return hashlib.sha256(identity.encode()).hexdigest()


def _counters(tally: _Tally) -> TierCounters:
    return TierCounters(tally.hits, tally.reused, dict(tally.misses), tally.fetched_bytes, tally.milliseconds)


def _failure(uri: ObjectUri, misses: Mapping[str, Miss]) -> Miss:
    asked = "; ".join(f"{name}: {str(miss).removeprefix(f'{uri} ')}" for name, miss in misses.items())
    kinds: tuple[type[Miss], ...] = (Unavailable, ObjectCorrupt)
    kind = next((kind for kind in kinds if any(isinstance(miss, kind) for miss in misses.values())), ObjectMissing)
    return kind(f"no tier serves {uri} ({asked})")


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
