"""Errors of storage, forked in two: *retry me* and *record me*.

StorageError
├── Unavailable          retry me: the same call may succeed later
│   ├── SpoolFull        wait: the spool's byte budget or the node's disk is used up
│   └── TierOpen         wait: the store failed so often that no request is sent to it for a while
├── Rejected             record me: trying again gives the same answer
│   ├── BadRow           a column of the row is missing or malformed
│   ├── ForbiddenPath    the row's path lies outside the buckets it may read
│   ├── ObjectMissing    no tier holds the object
│   ├── ObjectArchived   the object must be restored from an archive class before it can be read
│   ├── ObjectCorrupt    the object's bytes do not match its size or checksum
│   ├── ObjectTooLarge   the object is over the byte limit
│   └── Unwritable       the output table cannot hold a value of the row
└── UsageError           tell the operator: a URL, table, column or setting is wrong

``code`` is stable: it stands in ``result_info.error.code`` and in ``tamis retry --reason``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar


class StorageError(Exception):
    """Any failure of a store, a table or the ledger."""

    code: ClassVar[str] = "storage_error"


class Unavailable(StorageError):
    """The store did not answer, or asked for a later attempt. Retry with back-off."""

    code: ClassVar[str] = "store_unavailable"


class SpoolFull(Unavailable):
    """Leased files use up the spool's byte budget, or its disk is full. Wait until there is room."""

    code: ClassVar[str] = "spool_full"


class TierOpen(Unavailable):
    """The store failed so often that no request is sent to it for ``wait_seconds``; none was sent for this call."""

    code: ClassVar[str] = "tier_open"

    def __init__(self, message: str, *, wait_seconds: float) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds

    def __reduce__(self) -> tuple[Callable[[str], TierOpen], tuple[str]]:
        """Pickle with both arguments."""
        return partial(TierOpen, wait_seconds=self.wait_seconds), (str(self),)


class Rejected(StorageError):
    """A permanent answer about this row. Record it as the row's failure; a retry would give the same answer."""

    code: ClassVar[str] = "rejected"


class BadRow(Rejected):
    """A column of the row is missing, of the wrong type, or not valid JSON."""

    code: ClassVar[str] = "bad_row"


class ForbiddenPath(Rejected):
    """The bucket is not on the allow-list, or the path tries to leave it."""

    code: ClassVar[str] = "forbidden_path"


class ObjectMissing(Rejected):
    """No tier holds the object."""

    code: ClassVar[str] = "object_missing"


class ObjectArchived(Rejected):
    """The object is in an archive storage class and must be restored before it can be read."""

    code: ClassVar[str] = "object_archived"


class ObjectCorrupt(Rejected):
    """The bytes read do not match the size or checksum the store states."""

    code: ClassVar[str] = "object_corrupt"


class ObjectTooLarge(Rejected):
    """The object is larger than the byte limit for one video."""

    code: ClassVar[str] = "object_too_large"


class Unwritable(Rejected):
    """The output table cannot hold a value of the row, or lacks a column of it."""

    code: ClassVar[str] = "row_unwritable"


class UsageError(StorageError):
    """An operator's mistake: the message names the value and the remedy (exit status 2)."""

    code: ClassVar[str] = "usage"
