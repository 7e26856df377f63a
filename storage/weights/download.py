"""One object into one file: parts in parallel, each tried a few times, those already there kept."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from storage.errors import ObjectCorrupt, Unavailable
from storage.objects.protocol import ObjectStat, RangedStore
from storage.uri import ObjectUri
from storage.weights.attempts import DownloadPlan, retrying
from storage.weights.disk import weights_disk_faults
from storage.weights.progress import DownloadProgress, PartLayout

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # bytes there, bytes in all


def download(
    origin: RangedStore, uri: ObjectUri, stat: ObjectStat, part_file: Path, plan: DownloadPlan, tell: Progress
) -> None:
    """Bring every byte of the object into ``part_file``, going on where an earlier download stopped.

    Raises:
        Unavailable: a part failed at every attempt, or this node's disk did; what is there stays for the next time.
        ObjectCorrupt: a part ended early at every attempt.
        Rejected: the object may not be read, or is gone.
    """
    journal = DownloadProgress(
        part_file.with_name(part_file.name + ".journal"), PartLayout.of(uri, stat, plan.part_bytes)
    )
    with _opened(part_file, stat.size_bytes) as descriptor:
        with weights_disk_faults(part_file):
            kept = journal.verified_parts(descriptor)
            journal.begin(kept, descriptor)
        fetch = _Download(origin, uri, stat, plan, journal, descriptor, tell, part_file)
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
                os.posix_fallocate(descriptor, 0, size_bytes)  # a disk without room says so now, not half-way
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _Download:
    origin: RangedStore
    uri: ObjectUri
    stat: ObjectStat
    plan: DownloadPlan
    journal: DownloadProgress
    descriptor: int
    tell: Progress
    part_file: Path
    done_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, kept: frozenset[int]) -> None:
        """Fetch the parts that are not kept."""
        layout = self.journal.layout
        self.count(sum(layout.length(part) for part in kept))
        missing = [part for part in range(layout.part_count) if part not in kept]
        if kept:
            log.info("%s: %d of %d parts are there already", self.uri, len(kept), layout.part_count)
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
        """Fetch one part; when it fails for good, the others stop."""
        with ExitStack() as failing:
            failing.callback(self.is_stopped.set)
            retrying(lambda: self.read(part), self.plan, f"{self.uri}: part {part}", self.is_stopped.wait)
            failing.pop_all()

    def read(self, part: int) -> None:
        """Have the store write one part to its place, and enter it in the journal."""
        if self.is_stopped.is_set():
            return
        start, length = self.journal.layout.start(part), self.journal.layout.length(part)
        target = _PartTarget(self, start, length)
        try:
            self.origin.read_range(self.uri, self.stat, start, length, cast("BinaryIO", target))
            if target.written_bytes != length:
                raise ObjectCorrupt(f"{self.uri}: {target.written_bytes} bytes came of a part of {length}")
        except (Unavailable, ObjectCorrupt):
            self.count(-target.written_bytes)
            raise
        self.claim(part, target.digest.hexdigest())

    def claim(self, part: int, digest: str) -> None:
        """Enter the part in the journal."""
        with self.lock, weights_disk_faults(self.journal.path):
            self.journal.add(part, digest)

    def count(self, more_bytes: int) -> None:
        """Add to the bytes that are there, and tell."""
        with self.lock:
            self.done_bytes += more_bytes
            self.tell(self.done_bytes, self.stat.size_bytes)


class _PartTarget:
    """Takes one part's bytes, at their place in the file, and digests them."""

    def __init__(self, download: _Download, start: int, limit_bytes: int) -> None:
        self.download, self.start, self.limit_bytes = download, start, limit_bytes
        self.written_bytes = 0
        self.digest = hashlib.sha256()

    def write(self, block: ReadableBuffer, /) -> int:
        """Write the whole block; more than the part's length is corrupt."""
        rest = memoryview(block).cast("B")
        length = len(rest)
        if self.written_bytes + length > self.limit_bytes:
            raise ObjectCorrupt(f"{self.download.uri}: more bytes came than the part's {self.limit_bytes}")
        self.digest.update(rest)
        with weights_disk_faults(self.download.part_file):
            while rest:
                written = os.pwrite(self.download.descriptor, rest, self.start + self.written_bytes)
                self.written_bytes += written
                rest = rest[written:]
        self.download.count(length)
        return length
