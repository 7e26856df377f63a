"""The progress file of a download: a first line that names the object, then one line of JSON per present part.

A line is a claim that is checked against the part's bytes before a download continues; so it is not synced.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.objects.protocol import ObjectStat
from storage.uri import ObjectUri


@dataclass(frozen=True, slots=True)
class PartLayout:
    """The object's version and its division into parts; parts of another layout cannot be used."""

    uri: str
    version: str
    size_bytes: int
    part_bytes: int

    @classmethod
    def of(cls, uri: ObjectUri, stat: ObjectStat, part_bytes: int) -> PartLayout:
        """Return the layout of the object that ``stat`` describes."""
        return cls(str(uri), stat.version, stat.size_bytes, part_bytes)

    @property
    def part_count(self) -> int:
        """The number of parts; zero for an empty object."""
        return -(-self.size_bytes // self.part_bytes)

    def start(self, part: int) -> int:
        """Return the offset of a part's first byte."""
        return part * self.part_bytes

    def length(self, part: int) -> int:
        """Return the bytes of a part; the last one may be shorter."""
        return min(self.part_bytes, self.size_bytes - self.start(part))


class DownloadProgress:
    """The progress file of one download, written by the process that holds the lock."""

    def __init__(self, path: Path, layout: PartLayout) -> None:
        self.path, self.layout = path, layout

    def verified_parts(self, descriptor: int) -> frozenset[int]:
        """Return the parts whose bytes have the recorded digest."""
        claims = dict(self._claims())
        return frozenset(part for part, digest in claims.items() if self._digest(part, descriptor) == digest)

    def begin(self, kept: frozenset[int], descriptor: int) -> None:
        """Write the file again with the kept parts; removes a torn line, too."""
        lines = [json.dumps(asdict(self.layout))]
        lines += [json.dumps([part, self._digest(part, descriptor)]) for part in sorted(kept)]
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def add(self, part: int, digest: str) -> None:
        """Record that the part is present."""
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps([part, digest]).encode() + b"\n")

    def _claims(self) -> Iterator[tuple[int, str]]:
        try:
            head, *lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except (FileNotFoundError, ValueError):  # no file, or an empty one
            return
        if _parsed(head) != asdict(self.layout):
            return
        for claim in map(_parsed, lines):
            match claim:
                case [int(part), str(digest)] if 0 <= part < self.layout.part_count:
                    yield part, digest

    def _digest(self, part: int, descriptor: int) -> str:
        start, length = self.layout.start(part), self.layout.length(part)
        return hashlib.sha256(os.pread(descriptor, length, start)).hexdigest()


def _parsed(line: str) -> object:
    try:
        parsed: object = json.loads(line)
    except ValueError:  # cut short when its writer was killed
        return None
    return parsed
