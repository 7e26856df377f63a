"""Checks of a copy against the object store: the size, and the checksum where the store states one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, ClassVar, cast

from storage.errors import ObjectCorrupt
from storage.objects.protocol import ObjectStat
from storage.tiers.guard import GuardedStore
from storage.uri import ObjectUri

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class WrongSize(ObjectCorrupt):
    """A copy whose size differs from the object's: it is truncated, or of another version."""

    code: ClassVar[str] = "wrong_size"


class WrongChecksum(ObjectCorrupt):
    """A copy of the right size whose bytes are not the object's."""

    code: ClassVar[str] = "wrong_checksum"


def check_size(uri: ObjectUri, found: ObjectStat, stated: ObjectStat) -> None:
    """Raise ``WrongSize`` unless the copy has the object's size."""
    if found.size_bytes != stated.size_bytes:
        raise WrongSize(f"{uri} has {found.size_bytes} bytes where the object store states {stated.size_bytes}")


def fetch_verified(store: GuardedStore, uri: ObjectUri, stat: ObjectStat, into: BinaryIO, crc64: int | None) -> None:
    """Fetch the object; ``WrongChecksum`` unless it has this CRC-64/XZ; None: no checksum is known."""
    if crc64 is None:
        store.fetch(uri, stat, into)
        return
    checked = ChecksumWriter(into)
    store.fetch(uri, stat, cast("BinaryIO", checked))
    checked.check(uri, crc64)


class ChecksumWriter(io.RawIOBase):
    """Writes bytes to ``into`` and computes their CRC-64/XZ (7 GB/s)."""

    def __init__(self, into: BinaryIO) -> None:
        from fastcrc import crc64  # a store that states checksums has it installed

        self._update = crc64.xz
        self._into = into
        self._crc64 = crc64.xz(b"")

    def write(self, block: ReadableBuffer, /) -> int:
        """Write the whole block."""
        copied = bytes(block)  # makes no copy of bytes
        self._crc64 = self._update(copied, self._crc64)
        return self._into.write(copied)

    def check(self, uri: ObjectUri, crc64: int) -> None:
        """Raise ``WrongChecksum`` unless the written bytes have this checksum."""
        if self._crc64 != crc64:
            raise WrongChecksum(f"{uri} has CRC-64 {self._crc64} where the object store states {crc64}")
