"""The protocols of object stores. ``tests/contract`` runs one suite against every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from storage.uri import ObjectUri


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """The properties that a store states for an object: size, version and, where known, checksum."""

    size_bytes: int
    version: str  # changes whenever the bytes change: an ETag, or size and mtime for a file
    crc64: int | None = None  # CRC-64/XZ of the whole object; None: the store states none


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object that a listing names."""

    uri: ObjectUri
    stat: ObjectStat


class ObjectStore(Protocol):
    """Whole objects by bucket and key."""

    def stat(self, uri: ObjectUri) -> ObjectStat:
        """Return the properties of an object; ``ObjectMissing``, ``ForbiddenPath`` or ``Unavailable``."""

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        """Stream the bytes that ``stat`` describes; ``ObjectCorrupt`` when they differ in number or checksum."""

    def put(self, path: Path, uri: ObjectUri) -> None:
        """Store a file, atomically; the same bytes under the same key again have no further effect."""


@runtime_checkable
class RangedStore(Protocol):
    """Objects that can be read in parts, by several threads at once."""

    def stat(self, uri: ObjectUri) -> ObjectStat:
        """Return the properties of an object, as an ``ObjectStore`` does."""

    def read_range(self, uri: ObjectUri, stat: ObjectStat, start: int, length: int, into: BinaryIO) -> None:
        """Write ``length`` bytes from ``start`` on to ``into``, of which only ``write`` is used.

        ``Unavailable`` when the object now has another version than ``stat`` names; ``ObjectCorrupt`` when it is too
        short. No store states a checksum of a part: the caller must know the digest of the whole object.
        """


@runtime_checkable
class ListedStore(Protocol):
    """Objects that can be listed."""

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """Yield the objects whose key begins with the prefix, which is empty or ends with a slash, in any order.

        Objects whose key no row may name are left out. ``ForbiddenPath`` without the right to list, ``Unavailable``.
        """
