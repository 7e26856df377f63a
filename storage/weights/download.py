"""Download of one object into one file: in parallel parts, each retried; present parts are kept."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from storage.backoff import Backoff
from storage.errors import ObjectCorrupt, Unavailable
from storage.objects.protocol import ObjectStat, RangedStore
from storage.uri import ObjectUri
from storage.weights.disk import weights_disk_faults
from storage.weights.progress import DownloadProgress, PartLayout

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # bytes present, bytes in total
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """The plan of a download: up to ``parallel_parts`` ranges in parallel, each tried ``attempts`` times."""

    parallel_parts: int = 16
    part_bytes: int = 8 << 20
    attempts: int = 5
    first_wait_seconds: float = 0.5  # before the second attempt
    longest_wait_seconds: float = 15.0
    total_seconds: float = 3600.0  # of one download; its parts are kept for the next one


class DownloadTooSlow(Unavailable):
    """A download that exceeded its total time; its complete parts are kept."""


def retrying(call: Callable[[], T], plan: DownloadPlan, what: str, wait: Callable[[float], object]) -> T:
    """Call until it succeeds or no attempt is left; errors that a repetition cannot change are raised at once."""
    backoff = Backoff(plan.first_wait_seconds, plan.longest_wait_seconds)
    for attempt in count(1):
        try:
            return call()
        except DownloadTooSlow:
            raise
        except (Unavailable, ObjectCorrupt) as error:
            if attempt >= plan.attempts:
                raise
            seconds = backoff.wait_seconds(attempt)
            log.warning("%s failed (attempt %d), again in %.1f s: %s", what, attempt, seconds, error)
            wait(seconds)
    raise AssertionError  # the loop has no end


def download(
    origin: RangedStore, uri: ObjectUri, stat: ObjectStat, part_file: Path, plan: DownloadPlan, report: Progress
) -> None:
    """Download the object into ``part_file``, and continue where an earlier download stopped.

    Raises:
        Unavailable: a part failed at every attempt, this node's disk failed, or the download took longer than
            ``plan.total_seconds``; present parts are kept.
        ObjectCorrupt: a part ended early at every attempt.
        Rejected: the object may not be read, or is gone.
    """
    progress = DownloadProgress(
        part_file.with_name(part_file.name + ".journal"), PartLayout.of(uri, stat, plan.part_bytes)
    )
    with _opened(part_file, stat.size_bytes) as descriptor:
        with weights_disk_faults(part_file):
            kept = progress.verified_parts(descriptor)
            progress.begin(kept, descriptor)
        fetch = _Download(origin, uri, stat, plan, progress, descriptor, report, part_file)
        fetch.run(kept)
        with weights_disk_faults(part_file):
            os.fsync(descriptor)


@contextmanager
def _opened(part_file: Path, size_bytes: int) -> Iterator[int]:
    with weights_disk_faults(part_file):
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(part_file, flags, 0o644)
    try:
        with weights_disk_faults(part_file):
            os.ftruncate(descriptor, min(size_bytes, os.fstat(descriptor).st_size))
            if size_bytes:
                os.posix_fallocate(descriptor, 0, size_bytes)  # a full disk fails now, not during the download
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _Download:
    origin: RangedStore
    uri: ObjectUri
    stat: ObjectStat
    plan: DownloadPlan
    progress: DownloadProgress
    descriptor: int
    report: Progress
    part_file: Path
    done_bytes: int = 0
    started: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, kept: frozenset[int]) -> None:
        """Fetch the missing parts."""
        layout = self.progress.layout
        self.count(sum(layout.length(part) for part in kept))
        missing = [part for part in range(layout.part_count) if part not in kept]
        if kept:
            log.info("%s: %d of %d parts are present already", self.uri, len(kept), layout.part_count)
        with ThreadPoolExecutor(self.plan.parallel_parts, thread_name_prefix="weights") as pool:
            parts = [pool.submit(self.fetch, part) for part in missing]
            try:
                wait(parts, return_when=FIRST_EXCEPTION)
            finally:
                self.is_stopped.set()
                pool.shutdown(cancel_futures=True)
            for part in parts:
                if not part.cancelled():
                    part.result()

    def fetch(self, part: int) -> None:
        """Fetch one part; after its last attempt fails, the other parts stop."""
        with ExitStack() as failing:
            failing.callback(self.is_stopped.set)
            retrying(lambda: self.read(part), self.plan, f"{self.uri}: part {part}", self.is_stopped.wait)
            failing.pop_all()

    def read(self, part: int) -> None:
        """Write one part to its place in the file, and record it."""
        if self.is_stopped.is_set():
            return
        start, length = self.progress.layout.start(part), self.progress.layout.length(part)
        target = _PartTarget(self, start, length)
        try:
            self.origin.read_range(self.uri, self.stat, start, length, cast("BinaryIO", target))
            if target.written_bytes != length:
                raise ObjectCorrupt(f"{self.uri}: {target.written_bytes} bytes arrived of a part of {length}")
        except (Unavailable, ObjectCorrupt):
            self.count(-target.written_bytes)
            raise
        self.record(part, target.digest.hexdigest())

    def check_time(self) -> None:
        """Raise ``DownloadTooSlow`` after the total time."""
        if time.monotonic() - self.started >= self.plan.total_seconds:
            done = f"{self.done_bytes} of {self.stat.size_bytes} bytes"
            raise DownloadTooSlow(
                f"{self.uri}: {done} arrived in {self.plan.total_seconds:g} s; complete parts are kept, start again"
            )

    def record(self, part: int, digest: str) -> None:
        """Record that the part is present."""
        with self.lock, weights_disk_faults(self.progress.path):
            self.progress.add(part, digest)

    def count(self, more_bytes: int) -> None:
        """Add to the present bytes, and report them."""
        with self.lock:
            self.done_bytes += more_bytes
            self.report(self.done_bytes, self.stat.size_bytes)


class _PartTarget:
    """Writes the bytes of one part at their place in the file, and computes their digest."""

    def __init__(self, download: _Download, start: int, limit_bytes: int) -> None:
        self.download, self.start, self.limit_bytes = download, start, limit_bytes
        self.written_bytes = 0
        self.digest = hashlib.sha256()

    def write(self, block: ReadableBuffer, /) -> int:
        """Write the whole block; ``ObjectCorrupt`` beyond the part's length."""
        self.download.check_time()
        rest = memoryview(block).cast("B")
        length = len(rest)
        if self.written_bytes + length > self.limit_bytes:
            raise ObjectCorrupt(f"{self.download.uri}: more bytes arrived than the part's {self.limit_bytes}")
        self.digest.update(rest)
        with weights_disk_faults(self.download.part_file):
            while rest:
                written = os.pwrite(self.download.descriptor, rest, self.start + self.written_bytes)
                self.written_bytes += written
                rest = rest[written:]
        self.download.count(length)
        return length
