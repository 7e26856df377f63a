"""Which parts of a download are there: one line of JSON per part, behind a line that says what is downloaded.

A line is only a claim: whoever goes on holds the part's bytes against it, so nothing need be synced for it.
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
    """The object's version and how it is cut; parts of another layout are of no use."""

    uri: str
    version: str
    size_bytes: int
    part_bytes: int

    @classmethod
    def of(cls, uri: ObjectUri, stat: ObjectStat, part_bytes: int) -> PartLayout:
        """How the object that ``stat`` describes is cut."""
        return cls(str(uri), stat.version, stat.size_bytes, part_bytes)

    @property
    def part_count(self) -> int:
        """How many parts there are; none of an empty object."""
        return -(-self.size_bytes // self.part_bytes)

    def start(self, part: int) -> int:
        """The offset of a part's first byte."""
        return part * self.part_bytes

    def length(self, part: int) -> int:
        """Bytes of a part; the last one may be shorter."""
        return min(self.part_bytes, self.size_bytes - self.start(part))


class DownloadProgress:
    """The journal of one download, kept by the one process that holds its lock."""

    def __init__(self, path: Path, layout: PartLayout) -> None:
        self.path, self.layout = path, layout

    def verified_parts(self, descriptor: int) -> frozenset[int]:
        """The parts whose bytes in the file are those that the journal claims."""
        claims = dict(self._claims())
        return frozenset(part for part, digest in claims.items() if self._digest(part, descriptor) == digest)

    def begin(self, kept: frozenset[int], descriptor: int) -> None:
        """Write the journal anew with the parts that are kept; ends a torn line, too."""
        lines = [json.dumps(asdict(self.layout))]
        lines += [json.dumps([part, self._digest(part, descriptor)]) for part in sorted(kept)]
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def add(self, part: int, digest: str) -> None:
        """Claim that the part is there."""
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps([part, digest]).encode() + b"\n")

    def _claims(self) -> Iterator[tuple[int, str]]:
        try:
            head, *lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except (FileNotFoundError, ValueError):  # none, or an empty one
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
    except ValueError:  # torn when its writer was killed
        return None
    return parsed
