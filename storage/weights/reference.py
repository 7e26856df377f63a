"""References ``oss://bucket/path`` to weights, with pins: one file, or the files of a directory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from storage.errors import ForbiddenPath, UsageError
from storage.uri import ObjectUri, check_object

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """An object and the SHA-256 (hex) that its bytes must have."""

    uri: ObjectUri
    sha256: str

    @property
    def name(self) -> str:
        """The object's own name, without the path before it."""
        return self.uri.key.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One file, or the files of a directory, with different names."""

    files: tuple[PinnedFile, ...]
    is_directory: bool

    @property
    def identity(self) -> str:
        """SHA-256 (hex) of the names and digests, independent of the files' address."""
        names = sorted((file.name, file.sha256) for file in self.files)
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def read_reference(
    reference: str, pins: str | Mapping[str, str] | None, *, allowed_buckets: frozenset[str] | None = None
) -> Checkpoint:
    """Return the file ``oss://bucket/key``, or a directory's files when ``pins`` maps file names to digests.

    Raises:
        ForbiddenPath: the reference, or a file's name, leads elsewhere, or the bucket is not allowed.
        UsageError: nothing is pinned, or a pin is not 64 hex digits.
    """
    if not pins:
        raise UsageError(f'weights {reference} must be pinned: add sha256 = "…" (`sha256sum` prints it)')
    base = ObjectUri.parse(reference.removesuffix("/"))
    check_object(base.bucket, base.key, allowed_buckets=allowed_buckets)
    if isinstance(pins, str):
        return Checkpoint((_pinned(base, pins),), is_directory=False)
    files = (_pinned(_beside(base, name), digest) for name, digest in sorted(pins.items()))
    return Checkpoint(tuple(files), is_directory=True)


def _beside(directory: ObjectUri, name: str) -> ObjectUri:
    if "/" in name:
        raise ForbiddenPath(f"{name!r} is not the name of a file of {directory}: directories are flat")
    return ObjectUri.parse(f"{directory}/{name}")


def _pinned(uri: ObjectUri, digest: str) -> PinnedFile:
    if not _SHA256.fullmatch(digest):
        raise UsageError(f"the pin {digest!r} of {uri} is not a SHA-256: write its 64 hex digits in lower case")
    return PinnedFile(uri, digest)
