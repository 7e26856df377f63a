"""The server's objects: bodies in a directory, one file each; their properties in memory."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fastcrc import crc64

from tests.servers.oss.refusals import Refused

MIN_PART_BYTES = 100 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """An object, or a part of one."""

    path: Path
    size_bytes: int
    etag: str
    crc64: int
    kind: str = "Normal"
    headers: Mapping[str, str] = field(default_factory=dict)  # content-type and x-oss-meta-*
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(slots=True)
class Upload:
    """An unfinished multipart upload."""

    bucket: str
    key: str
    headers: Mapping[str, str]
    parts: dict[int, Stored] = field(default_factory=dict)


class Shelf:
    """Objects by bucket and key, uploads by id. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, Upload] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    def objects(self, bucket: str) -> dict[str, Stored]:
        """Return the bucket's objects; ``NoSuchBucket``."""
        if bucket not in self.buckets:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.", BucketName=bucket)
        return self.buckets[bucket]

    def find(self, bucket: str, key: str) -> Stored:
        """Return the object; ``NoSuchBucket``, ``NoSuchKey``."""
        found = self.objects(bucket).get(key)
        if found is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.", Key=key)
        return found

    def put(
        self, bucket: str, key: str, body: bytes, headers: Mapping[str, str], *, forbids_overwrite: bool = False
    ) -> Stored:
        """Store an object; replace a present one."""
        with self._lock:
            self._check_free(bucket, key, forbids_overwrite)
            self.buckets[bucket][key] = stored = self._store(body, headers)
            return stored

    def delete(self, bucket: str, key: str) -> None:
        """Delete the object, if it exists."""
        self.objects(bucket).pop(key, None)

    def start(self, bucket: str, key: str, headers: Mapping[str, str], *, forbids_overwrite: bool) -> str:
        """Start a multipart upload; return its id."""
        with self._lock:
            self._check_free(bucket, key, forbids_overwrite)
            upload_id = f"{next(self._numbers):032X}"
            self.uploads[upload_id] = Upload(bucket, key, headers)
            return upload_id

    def upload(self, upload_id: str) -> Upload:
        """Return an unfinished upload; ``NoSuchUpload``."""
        if upload_id not in self.uploads:
            message = "The specified upload does not exist. It may have been aborted or completed."
            raise Refused(404, "NoSuchUpload", message, UploadId=upload_id)
        return self.uploads[upload_id]

    def put_part(self, upload_id: str, number: int, body: bytes) -> Stored:
        """Store a part; replace a present one of that number."""
        with self._lock:
            part = self.upload(upload_id).parts[number] = self._store(body, {})
            return part

    def complete(self, upload_id: str, named: list[tuple[int, str]], *, forbids_overwrite: bool) -> Stored:
        """Make an object of the parts named by number and ETag."""
        with self._lock:
            upload = self.upload(upload_id)
            self._check_free(upload.bucket, upload.key, forbids_overwrite)
            parts = _check_parts(upload.parts, named)
            stored = self._store(b"".join(part.path.read_bytes() for part in parts), upload.headers)
            digests = hashlib.md5("".join(part.etag for part in parts).encode()).hexdigest().upper()
            whole = Stored(
                stored.path, stored.size_bytes, f"{digests}-{len(parts)}", stored.crc64, "Multipart", upload.headers
            )
            self.buckets[upload.bucket][upload.key] = whole
            del self.uploads[upload_id]
            return whole

    def abort(self, upload_id: str) -> None:
        """Delete an upload and its parts."""
        with self._lock:
            self.upload(upload_id)
            del self.uploads[upload_id]

    def _check_free(self, bucket: str, key: str, forbids_overwrite: bool) -> None:
        if key in self.objects(bucket) and forbids_overwrite:
            raise Refused(
                409, "FileAlreadyExists", "The object you specified already exists and can not be overwritten."
            )

    def _store(self, body: bytes, headers: Mapping[str, str]) -> Stored:
        path = self.root / f"{next(self._numbers):08x}"
        path.write_bytes(body)
        return Stored(path, len(body), hashlib.md5(body).hexdigest().upper(), crc64.xz(body), headers=headers)


def _check_parts(parts: Mapping[int, Stored], named: list[tuple[int, str]]) -> list[Stored]:
    numbers = [number for number, _ in named]
    if not named or numbers != sorted(set(numbers)):
        raise Refused(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
    for number, etag in named:
        if number not in parts or parts[number].etag != etag:
            raise Refused(400, "InvalidPart", "One or more of the specified parts could not be found.")
    chosen = [parts[number] for number in numbers]
    if any(part.size_bytes < MIN_PART_BYTES for part in chosen[:-1]):
        raise Refused(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size.")
    return chosen
