"""Reading a part of an object: what large files that are fetched in parallel need beyond :mod:`.protocol`."""

from __future__ import annotations

from typing import BinaryIO, Protocol, runtime_checkable

from storage.objects.protocol import ObjectStat
from storage.uri import ObjectUri


@runtime_checkable
class RangedStore(Protocol):
    """Objects that can be read in parts, by several threads at once."""

    def stat(self, uri: ObjectUri) -> ObjectStat:
        """As an ``ObjectStore`` does."""

    def read_range(self, uri: ObjectUri, stat: ObjectStat, start: int, length: int, into: BinaryIO) -> None:
        """Write the ``length`` bytes from ``start`` on to ``into``, which can do nothing but ``write``.

        ``Unavailable`` when another version than ``stat`` names stands there now; ``ObjectCorrupt`` when the object has
        no such bytes. No store states a checksum of a part: the caller must know the digest of the whole.
        """
