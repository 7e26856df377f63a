"""Downloads a video from the first tier that holds it whole (CPFS, then Alluxio, then OSS).

A copy is accepted only if it has the size that the object store states, and the checksum where one is stated: one HEAD
per video. While the object store does not answer, or does not know the object, a fast tier serves its own copy.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from storage.errors import (
    ObjectArchived,
    ObjectCorrupt,
    ObjectMissing,
    ObjectTooLarge,
    SpoolFull,
    StorageError,
    TierOpen,
    Unavailable,
    UsageError,
)
from storage.objects.protocol import ObjectStat, ObjectStore
from storage.spool import Spool
from storage.spool.files import SpoolUnavailable
from storage.tiers.backfill import WORTH_FILLING, Backfill
from storage.tiers.counters import TierCounters, TierTally
from storage.tiers.guard import GuardedStore, TierLimits
from storage.tiers.verification import WrongSize, check_size, fetch_verified
from storage.uri import ObjectUri

Miss = ObjectMissing | ObjectArchived | ObjectCorrupt | Unavailable
OriginAnswer = ObjectStat | Miss | None  # its statement, its error, or None: not asked


@dataclass(frozen=True, slots=True)
class Tier:
    """A store and its name in results and metrics; ``needs_opt_in``: used only for rows that ask for Alluxio."""

    name: str
    store: ObjectStore
    needs_opt_in: bool = False
    limits: TierLimits = field(default_factory=TierLimits)
    backfill: Backfill | None = None  # writes here the videos that a later tier served


@dataclass(frozen=True, slots=True)
class SpooledVideo:
    """A whole video in the spool, leased to the holder that asked for it."""

    key: str
    path: Path
    size_bytes: int
    tier: str
    misses: Mapping[str, str]  # of the tiers before it: name -> "code: message"
    milliseconds: float  # of all tiers asked
    is_verified: bool  # its checksum is the one that the object store states


@dataclass(frozen=True, slots=True)
class TierCheck:
    """The result of a check of one tier; ``fault`` is empty when the tier answered."""

    name: str
    milliseconds: float
    fault: str


@dataclass(frozen=True, slots=True)
class _Guarded:
    tier: Tier
    store: GuardedStore
    tally: TierTally


@dataclass(frozen=True, slots=True)
class _Request:
    uri: ObjectUri
    spool: Spool
    holder: str


@dataclass(frozen=True, slots=True)
class _Hit:
    key: str
    path: Path
    size_bytes: int
    is_reused: bool
    is_verified: bool


class Tiers:
    """The tiers in the order in which they are asked. Thread-safe.

    The last tier that serves every row is the origin. ``checks_origin``: ask the origin for size and checksum first.
    """

    def __init__(self, tiers: Sequence[Tier], *, max_object_bytes: int, checks_origin: bool = True) -> None:
        names = [tier.name for tier in tiers]
        if len(set(names)) < len(names):
            raise UsageError(f"tiers must have different names, not {', '.join(names)}")
        if all(tier.needs_opt_in for tier in tiers):
            named = ", ".join(names) or "none"
            raise UsageError(f"no tier serves every row (tiers: {named}); configure OSS or a directory")
        self.max_object_bytes = max_object_bytes
        guarded = ((tier, GuardedStore(tier.name, tier.store, tier.limits)) for tier in tiers)
        self._tiers = [_Guarded(tier, store, TierTally(store.health())) for tier, store in guarded]
        self._origin = next(guarded for guarded in reversed(self._tiers) if not guarded.tier.needs_opt_in)
        self._checks_origin = checks_origin

    @property
    def origin(self) -> ObjectStore:
        """The store behind all others; crops are written to it."""
        return self._origin.tier.store

    def download(self, uri: ObjectUri, *, use_alluxio: bool, spool: Spool, holder: str) -> SpooledVideo:
        """Download the object into the spool from the first tier that serves it whole, and lease it to the holder.

        Raises ``ForbiddenPath`` and ``ObjectTooLarge`` at once, and the spool's own errors. When no tier serves:
        ``TierOpen`` if the origin's breaker is open, ``Unavailable`` if a tier may serve later, else
        ``ObjectCorrupt`` if a copy is damaged, ``ObjectArchived`` if it must be restored, else ``ObjectMissing``.
        """
        started = time.perf_counter()
        asked = [guarded for guarded in self._tiers if use_alluxio or not guarded.tier.needs_opt_in]
        request, misses = _Request(uri, spool, holder), dict[str, Miss]()
        stated = self._ask_origin(uri) if self._checks_origin and len(asked) > 1 else None
        for guarded in asked:
            answer = self._try_tier(guarded, request, stated)
            if isinstance(answer, _Hit):
                video = _spooled(guarded.tier.name, answer, misses, started)
                _fill(asked, request, misses, answer)
                return video
            misses[guarded.tier.name] = answer
            if isinstance(stated, ObjectStat) and not isinstance(answer, ObjectMissing | WrongSize | TierOpen):
                stated = self._ask_origin(uri)  # the object may have been replaced during the failed read
        raise self._failure(uri, misses)

    def counters(self) -> dict[str, TierCounters]:
        """Return the counters by tier name, in the order in which the tiers are asked."""
        return {guarded.tier.name: guarded.tally.counters(guarded.store.health()) for guarded in self._tiers}

    def check(self, uri: ObjectUri) -> Iterator[TierCheck]:
        """Ask every tier about one object, which need not exist; a tier that hangs takes its whole time limit."""
        for guarded in self._tiers:
            started, fault = time.perf_counter(), ""
            try:
                guarded.store.stat(uri)
            except ObjectMissing:
                pass  # an answer
            except StorageError as error:
                fault = str(error)
            yield TierCheck(guarded.tier.name, _milliseconds_since(started), fault)

    def _ask_origin(self, uri: ObjectUri) -> ObjectStat | Miss:
        with _timed(self._origin):
            try:
                stat = self._origin.store.stat(uri)
            except (ObjectMissing, ObjectArchived, ObjectCorrupt, Unavailable) as miss:
                return miss
        self._check_limit(uri, stat)
        return stat

    def _try_tier(self, guarded: _Guarded, request: _Request, stated: OriginAnswer) -> _Hit | Miss:
        with _timed(guarded):
            try:
                hit = self._fetch(guarded, request, stated)
            except (SpoolFull, SpoolUnavailable):
                raise  # an error of this node: another tier cannot help
            except (ObjectMissing, ObjectArchived, ObjectCorrupt, Unavailable) as miss:
                guarded.tally.miss(miss.code)
                return miss
        guarded.tally.hit(hit.size_bytes, is_reused=hit.is_reused, is_verified=hit.is_verified)
        return hit

    def _fetch(self, guarded: _Guarded, request: _Request, stated: OriginAnswer) -> _Hit:
        stat = self._stat(guarded, request.uri, stated)
        named = stated if isinstance(stated, ObjectStat) else stat  # the same file in the spool for every tier
        is_origin, is_reused = guarded is self._origin, True

        def write(into: BinaryIO) -> None:
            nonlocal is_reused
            is_reused = False
            crc64 = None if is_origin else named.crc64  # the origin's own fetch checks that
            fetch_verified(guarded.store, request.uri, stat, into, crc64)

        key = spool_key(request.uri, named)
        path = request.spool.add(key, stat.size_bytes, request.holder, write)
        is_verified = named.crc64 is not None and (is_origin or named is stated)
        return _Hit(key, path, stat.size_bytes, is_reused, is_verified=is_verified)

    def _stat(self, guarded: _Guarded, uri: ObjectUri, stated: OriginAnswer) -> ObjectStat:
        if guarded is self._origin and stated is not None:
            if isinstance(stated, ObjectStat):
                return stated
            raise stated
        stat = guarded.store.stat(uri)
        if isinstance(stated, ObjectStat):
            check_size(uri, stat, stated)
        self._check_limit(uri, stat)
        return stat

    def _check_limit(self, uri: ObjectUri, stat: ObjectStat) -> None:
        if stat.size_bytes > self.max_object_bytes:
            raise ObjectTooLarge(f"{uri} has {stat.size_bytes} bytes, over the limit of {self.max_object_bytes}")

    def _failure(self, uri: ObjectUri, misses: Mapping[str, Miss]) -> Miss:
        asked = "; ".join(f"{name}: {str(miss).removeprefix(f'{uri} ')}" for name, miss in misses.items())
        fault = f"no tier serves {uri} ({asked})"
        last = misses.get(self._origin.tier.name)
        if isinstance(last, TierOpen):
            return TierOpen(fault, wait_seconds=last.wait_seconds)
        kinds: tuple[type[Miss], ...] = (Unavailable, ObjectCorrupt, ObjectArchived)
        kind = next((kind for kind in kinds if any(isinstance(miss, kind) for miss in misses.values())), ObjectMissing)
        return kind(fault)


def spool_key(uri: ObjectUri, stat: ObjectStat) -> str:
    """Return the object's key in the spool: SHA-256 (hex) of its address, version and size."""
    identity = json.dumps([uri.bucket, uri.key, stat.version, stat.size_bytes])
    return hashlib.sha256(identity.encode()).hexdigest()


def _fill(asked: Sequence[_Guarded], request: _Request, misses: Mapping[str, Miss], hit: _Hit) -> None:
    """Backfill the tiers where the object was missing or damaged, under the lease of its row."""
    if not hit.is_verified:
        return
    for guarded in asked:
        miss = misses.get(guarded.tier.name)
        if guarded.tier.backfill is not None and miss is not None and miss.code in WORTH_FILLING:
            guarded.tally.fill(guarded.tier.backfill.fill(hit.path, request.uri))


def _spooled(tier: str, hit: _Hit, misses: Mapping[str, Miss], started: float) -> SpooledVideo:
    return SpooledVideo(
        key=hit.key,
        path=hit.path,
        size_bytes=hit.size_bytes,
        tier=tier,
        misses={name: f"{miss.code}: {miss}" for name, miss in misses.items()},
        milliseconds=_milliseconds_since(started),
        is_verified=hit.is_verified,
    )


@contextmanager
def _timed(guarded: _Guarded) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        guarded.tally.add_time(_milliseconds_since(started))


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
