"""Directory stores on a real disk that may state a checksum, hang or fail."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastcrc import crc64

from storage.errors import Unavailable
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStat
from storage.uri import ObjectUri

CLIP = ObjectUri("videos", "clip.mp4")
CONTENT = b"clip" * 100


def place(root: Path, content: bytes = CONTENT, uri: ObjectUri = CLIP) -> None:
    """Write the content as a new file."""
    path = root / uri.bucket / uri.key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)


@dataclass(slots=True)
class WatchedStore:
    """A directory store that counts its calls; calls in ``fails`` fail, and calls in ``hangs`` wait for ``let_go``."""

    root: Path
    states_checksum: bool = False
    fails: set[str] = field(default_factory=set)  # of stat, fetch
    hangs: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    let_go: threading.Event = field(default_factory=threading.Event)

    def stat(self, uri: ObjectUri) -> ObjectStat:
        self._enter("stat")
        found = DirectoryStore(self.root).stat(uri)
        if not self.states_checksum:
            return found
        content = (self.root / uri.bucket / uri.key).read_bytes()
        return ObjectStat(found.size_bytes, found.version, crc64.xz(content))

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        self._enter("fetch")
        DirectoryStore(self.root).fetch(uri, stat, into)

    def put(self, path: Path, uri: ObjectUri) -> None:
        DirectoryStore(self.root).put(path, uri)

    def _enter(self, kind: str) -> None:
        self.asked[kind] += 1
        if kind in self.hangs:
            self.let_go.wait()
        if kind in self.fails:
            raise Unavailable(f"{self.root.name} says later")
