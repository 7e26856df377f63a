"""Where a video comes from: the first tier that holds it whole (CPFS, then Alluxio, then OSS).

A copy counts only when it has the size, and the checksum where one is known, that the object store states: one HEAD
per video. While the object store does not answer, or does not know the object, a fast tier serves what it has.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from storage.errors import (
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
from storage.tiers.counters import Tally, TierCounters
from storage.tiers.guard import GuardedStore, TierLimits
from storage.tiers.wholeness import ChecksumWriter, WrongSize, check_size
from storage.uri import ObjectUri

Miss = ObjectMissing | ObjectCorrupt | Unavailable
OriginAnswer = ObjectStat | Miss | None  # what the object store says, or why it says nothing, or that it was not asked


@dataclass(frozen=True, slots=True)
class Tier:
    """A store under the name it has in results and metrics; ``needs_opt_in``: asked only for rows that want Alluxio."""

    name: str
    store: ObjectStore
    needs_opt_in: bool = False
    limits: TierLimits = field(default_factory=TierLimits)
    backfill: Backfill | None = None  # puts here what a later tier served


@dataclass(frozen=True, slots=True)
class SpooledVideo:
    """A whole video in the spool, leased to the one who asked for it."""

    key: str
    path: Path
    size_bytes: int
    tier: str
    misses: Mapping[str, str]  # why the tiers before it could not serve: name -> "code: message"
    milliseconds: float  # over all tiers asked
    is_verified: bool  # held against what the object store states


@dataclass(frozen=True, slots=True)
class TierCheck:
    """What a look at a tier found; ``fault`` is empty when it answered."""

    name: str
    milliseconds: float
    fault: str


@dataclass(frozen=True, slots=True)
class _Guarded:
    tier: Tier
    store: GuardedStore
    tally: Tally


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

    The last that serves every row is the origin. ``checks_origin``: ask it first what the object is.
    """

    def __init__(self, tiers: Sequence[Tier], *, max_object_bytes: int, checks_origin: bool = True) -> None:
        names = [tier.name for tier in tiers]
        if len(set(names)) < len(names):
            raise UsageError(f"tiers must have different names, not {', '.join(names)}")
        if all(tier.needs_opt_in for tier in tiers):
            named = ", ".join(names) or "none"
            raise UsageError(f"no tier serves every row (tiers: {named}); configure OSS or a directory")
        self.max_object_bytes = max_object_bytes
        self._tiers = [_Guarded(tier, GuardedStore(tier.name, tier.store, tier.limits), Tally()) for tier in tiers]
        self._origin = next(guarded for guarded in reversed(self._tiers) if not guarded.tier.needs_opt_in)
        self._checks_origin = checks_origin

    @property
    def origin(self) -> ObjectStore:
        """The store behind all others: what is made of a video is put there."""
        return self._origin.tier.store

    def download(self, uri: ObjectUri, *, use_alluxio: bool, spool: Spool, holder: str) -> SpooledVideo:
        """Bring the object into the spool from the first tier that serves it whole, and lease it to the holder.

        Raises ``ForbiddenPath`` and ``ObjectTooLarge`` at once, and what the spool raises for itself. When no tier
        serves: ``TierOpen`` if the origin is left alone for now, ``Unavailable`` if a tier may serve later, else
        ``ObjectCorrupt`` if one has it damaged, else ``ObjectMissing``.
        """
        started = time.perf_counter()
        asked = [guarded for guarded in self._tiers if use_alluxio or not guarded.tier.needs_opt_in]
        request, misses = _Request(uri, spool, holder), dict[str, Miss]()
        truth = self._truth(uri) if self._checks_origin and len(asked) > 1 else None
        for guarded in asked:
            answer = self._visit(guarded, request, truth)
            if isinstance(answer, _Hit):
                video = _spooled(guarded.tier.name, answer, misses, started)
                _fill(asked, request, misses, answer)
                return video
            misses[guarded.tier.name] = answer
            if isinstance(truth, ObjectStat) and not isinstance(answer, ObjectMissing | WrongSize | TierOpen):
                truth = self._truth(uri)  # reading in vain took time; the object may be another one by now
        raise self._failure(uri, misses)

    def counters(self) -> dict[str, TierCounters]:
        """Counters by tier name, in the order in which the tiers are asked."""
        return {guarded.tier.name: guarded.tally.counters(guarded.store.health()) for guarded in self._tiers}

    def look(self, uri: ObjectUri) -> Iterator[TierCheck]:
        """Ask every tier about one object, whether it exists or not; a tier that hangs is given its time."""
        for guarded in self._tiers:
            started, fault = time.perf_counter(), ""
            try:
                guarded.store.stat(uri)
            except ObjectMissing:
                pass  # an answer
            except StorageError as error:
                fault = str(error)
            yield TierCheck(guarded.tier.name, _milliseconds_since(started), fault)

    def _truth(self, uri: ObjectUri) -> ObjectStat | Miss:
        with _timed(self._origin):
            try:
                stat = self._origin.store.stat(uri)
            except (ObjectMissing, ObjectCorrupt, Unavailable) as miss:
                return miss
        self._check_limit(uri, stat)
        return stat

    def _visit(self, guarded: _Guarded, request: _Request, truth: OriginAnswer) -> _Hit | Miss:
        with _timed(guarded):
            try:
                hit = self._fetch(guarded, request, truth)
            except (SpoolFull, SpoolUnavailable):
                raise  # this node's trouble: another tier's bytes would fare no better
            except (ObjectMissing, ObjectCorrupt, Unavailable) as miss:
                guarded.tally.miss(miss.code)
                return miss
        guarded.tally.hit(hit.size_bytes, is_reused=hit.is_reused, is_verified=hit.is_verified)
        return hit

    def _fetch(self, guarded: _Guarded, request: _Request, truth: OriginAnswer) -> _Hit:
        stat = self._stat(guarded, request.uri, truth)
        named = truth if isinstance(truth, ObjectStat) else stat  # one object, one file: whichever tier serves it
        is_origin, is_reused = guarded is self._origin, True

        def write(into: BinaryIO) -> None:
            nonlocal is_reused
            is_reused = False
            crc64 = None if is_origin else named.crc64  # the origin's own fetch checks that
            _fetch_whole(guarded.store, request.uri, stat, into, crc64)

        key = spool_key(request.uri, named)
        path = request.spool.add(key, stat.size_bytes, request.holder, write)
        return _Hit(key, path, stat.size_bytes, is_reused, is_verified=is_origin or named is truth)

    def _stat(self, guarded: _Guarded, uri: ObjectUri, truth: OriginAnswer) -> ObjectStat:
        if guarded is self._origin and truth is not None:
            if isinstance(truth, ObjectStat):
                return truth
            raise truth
        stat = guarded.store.stat(uri)
        if isinstance(truth, ObjectStat):
            check_size(uri, stat, truth)
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
        kinds: tuple[type[Miss], ...] = (Unavailable, ObjectCorrupt)
        kind = next((kind for kind in kinds if any(isinstance(miss, kind) for miss in misses.values())), ObjectMissing)
        return kind(fault)


def spool_key(uri: ObjectUri, stat: ObjectStat) -> str:
    """Name the object in the spool: SHA-256 over where it stands and what the store says of it, in hex."""
    identity = json.dumps([uri.bucket, uri.key, stat.version, stat.size_bytes])
    return hashlib.sha256(identity.encode()).hexdigest()


def _fetch_whole(store: GuardedStore, uri: ObjectUri, stat: ObjectStat, into: BinaryIO, crc64: int | None) -> None:
    if crc64 is None:
        store.fetch(uri, stat, into)
        return
    checked = ChecksumWriter(into)
    store.fetch(uri, stat, cast("BinaryIO", checked))
    checked.check(uri, crc64)


def _fill(asked: Sequence[_Guarded], request: _Request, misses: Mapping[str, Miss], hit: _Hit) -> None:
    """Put the object where it was missing or damaged, under the lease that its row has."""
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
        guarded.tally.spent(_milliseconds_since(started))


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
