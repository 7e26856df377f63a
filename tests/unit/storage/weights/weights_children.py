"""Child processes that download weights: ``weights_children.py ORIGIN ROOT KEY SHA256 HANG_AT`` as a script."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.errors import StorageError
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStat
from storage.uri import ObjectUri
from storage.weights import DownloadPlan, WeightsStore, read_reference

REPOSITORY = Path(__file__).parents[4]
PART_BYTES = 1000
PLAN = DownloadPlan(parallel_parts=4, part_bytes=PART_BYTES, attempts=3, first_wait_seconds=0.001)


def content_of(name: str, parts: int = 10) -> bytes:
    """Return ``parts`` parts, the last one short, different for every name."""
    return (hashlib.sha256(name.encode()).hexdigest().encode() * 16 * parts)[: parts * PART_BYTES - 300]


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class CountedStore:
    """A directory store that logs every range read to a file shared by all processes."""

    root: Path
    before_read: Callable[[ObjectUri, int], None] = lambda _uri, _start: None

    @property
    def log(self) -> Path:
        return self.root.with_name("reads")

    def reads(self) -> list[str]:
        """Return ``key start`` of every requested range."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def stat(self, uri: ObjectUri) -> ObjectStat:
        return DirectoryStore(self.root).stat(uri)

    def read_range(self, uri: ObjectUri, stat: ObjectStat, start: int, length: int, into: BinaryIO) -> None:
        with self.log.open("ab", buffering=0) as log:
            log.write(f"{uri.key} {start}\n".encode())
        self.before_read(uri, start)
        DirectoryStore(self.root).read_range(uri, stat, start, length, into)


def start(origin: Path, root: Path, key: str, sha256: str, hang_at: int = -1) -> subprocess.Popen[str]:
    """Start this file as a script; it hangs before it reads byte ``hang_at``."""
    command = [sys.executable, "-W", "error", __file__, str(origin), str(root), key, sha256, str(hang_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(REPOSITORY)})


def main(origin: Path, root: Path, key: str, sha256: str, hang_at: int) -> None:
    """Download the weights; print their path or the error."""

    def hang(_uri: ObjectUri, start: int) -> None:
        if start == hang_at:
            print(f"hangs {os.getpid()}", flush=True)
            threading.Event().wait()

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    plan = DownloadPlan(parallel_parts=1 if hang_at >= 0 else 4, part_bytes=PART_BYTES, attempts=1)
    store = WeightsStore(root, CountedStore(origin, hang), plan, notice_seconds=0.2)
    try:
        print("at", store.ensure(read_reference(f"oss://models/{key}", sha256)), flush=True)
    except StorageError as error:
        print("failed", error.code, error, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
