"""Addresses: ``oss://bucket/key`` of an object, and the URL of a table. Nothing is opened here."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote, unquote

from storage.errors import ForbiddenPath, UsageError

MAX_KEY_BYTES = 1023  # OSS's limit for an object key
FILE_SUFFIXES = (".jsonl", ".csv", ".parquet")
EXAMPLES = "sqlite:///videos.db#videos/ds=20250115, videos.jsonl, odps://project/videos/ds=20250115"

Scheme = Literal["sqlite", "file", "odps"]
Partition = tuple[tuple[str, str], ...]

DEFAULT_SCHEMA = "default"  # MaxCompute's: naming it or not is the same table

_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # OSS's rule for bucket names
_NAME = re.compile(r"[^\W\d][\w-]*")  # a table's or a partition column's
_OSS = "oss://"


@dataclass(frozen=True, slots=True)
class ObjectUri:
    """The address of an object. :func:`check_object` builds it from a row's columns, which are untrusted."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``oss://bucket/key``; ``ForbiddenPath`` for any other text."""
        bucket, slash, key = text.removeprefix(_OSS).partition("/")
        if not text.startswith(_OSS) or not slash:
            raise ForbiddenPath(f"{text!r} is not of the form oss://bucket/key")
        _check_bucket(bucket)
        _check_key(key)
        return cls(bucket, key)

    def __str__(self) -> str:
        """Return ``oss://bucket/key`` as it was written."""
        return f"{_OSS}{self.bucket}/{self.key}"


def check_object(bucket: str, path: str, *, allowed_buckets: frozenset[str] | None) -> ObjectUri:
    """Return the address that a row names, or raise ``ForbiddenPath``; ``None`` allows every valid bucket name.

    ``path`` may be a whole ``oss://bucket/key``; its bucket must then be the row's.
    """
    _check_bucket(bucket)
    if allowed_buckets is not None and bucket not in allowed_buckets:
        allowed = ", ".join(sorted(allowed_buckets)) or "empty"
        raise ForbiddenPath(f"bucket {bucket!r} is not on the allow-list ({allowed})")
    if not path.startswith(_OSS):
        _check_key(path)
        return ObjectUri(bucket, path)
    uri = ObjectUri.parse(path)
    if uri.bucket != bucket:
        raise ForbiddenPath(f"path {path!r} leaves the row's bucket {bucket!r}")
    return uri


def is_bucket_name(name: str) -> bool:
    """Return whether the name follows OSS's rule for buckets."""
    return _BUCKET.fullmatch(name) is not None


def _check_bucket(bucket: str) -> None:
    if not is_bucket_name(bucket):
        raise ForbiddenPath(f"{bucket!r} is not a bucket name: 3 to 63 of a-z, 0-9 and '-', no '-' at either end")


def _check_key(key: str) -> None:
    size_bytes = len(key.encode("utf-8", "surrogatepass"))
    if size_bytes > MAX_KEY_BYTES:
        raise ForbiddenPath(f"path of {size_bytes} bytes is over the limit of {MAX_KEY_BYTES}: {key[:80]!r}…")
    if fault := _fault_of(key):
        raise ForbiddenPath(f"path {key!r} {fault}")
    seen, decoded = key, unquote(key)
    while decoded != seen:  # a gateway in front of the store may decode once more; each round shortens the text
        if fault := _fault_of_decoded(decoded):
            raise ForbiddenPath(f"path {key!r}, percent-decoded, {fault}")
        seen, decoded = decoded, unquote(decoded)


def _fault_of(path: str) -> str | None:
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in path):
        return "holds a control character or half a surrogate pair"
    if "\\" in path:
        return "holds a backslash"
    segments = path.split("/")
    if not path or not segments[0]:
        return "is absolute: paths start at the bucket's root, without '/'" if path else "is empty"
    if "" in segments:
        return "has an empty segment ('//' or a '/' at its end)"
    if not {".", ".."}.isdisjoint(segments):
        return "has a '.' or '..' segment"
    return None


def _fault_of_decoded(path: str) -> str | None:
    """Return the reason to refuse a decoded key. A key may be an encoded URL: empty segments are allowed here."""
    if "\0" in path:
        return "holds a NUL character"
    if "\\" in path:
        return "holds a backslash"
    if not {".", ".."}.isdisjoint(path.split("/")):
        return "has a '.' or '..' segment"
    return None


@dataclass(frozen=True, slots=True)
class TableUrl:
    """The address of a table's partition, normalised: absolute path, links resolved, partition columns sorted.

    MaxCompute's names have no case and a default schema, so they are in lower case, and that schema is left out.
    """

    scheme: Scheme
    location: str  # an absolute path; an ODPS project, or project.schema
    table: str | None = None
    partition: Partition = ()
    is_relative: bool = field(default=False, compare=False)  # as it was written; the usual reason for a missing file

    @classmethod
    def parse(cls, text: str, cwd: Path | None = None) -> Self:
        """Parse a URL or a plain path, relative to ``cwd`` (default: the process's); ``UsageError`` for other text."""
        scheme, colon, rest = text.partition("://")
        if not colon:
            return cls(*_file(text, text, cwd))
        if scheme == "sqlite":
            return cls(*_sqlite(text, rest, cwd))
        if scheme == "odps":
            return cls(*_odps(text, rest))
        if scheme == "file":
            return cls(*_file_url(text, rest))
        raise _wrong(text, f"{scheme!r} is not a scheme tamis knows")

    @property
    def path(self) -> Path:
        """The file of a ``sqlite`` or ``file`` URL."""
        return Path(self.location)

    @property
    def suffix(self) -> str:
        """The file's format: one of ``FILE_SUFFIXES`` for a ``file`` URL."""
        return self.path.suffix.lower()

    def __str__(self) -> str:
        """Return the normalised URL; parsing it gives an equal object."""
        if self.scheme == "file":
            return f"file://{quote(self.location)}"
        partition = "".join(f"/{column}={quote(value, safe='')}" for column, value in self.partition)
        separator = "/" if self.scheme == "odps" else "#"
        root = self.location if self.scheme == "odps" else "/" + quote(self.location)
        return f"{self.scheme}://{root}{separator}{self.table}{partition}"


_Fields = tuple[Scheme, str, str | None, Partition, bool]


def _wrong(text: str, fault: str) -> UsageError:
    return UsageError(f"table URL {text!r}: {fault}. Examples: {EXAMPLES}")


def _sqlite(text: str, rest: str, cwd: Path | None) -> _Fields:
    location, hash_sign, fragment = rest.partition("#")
    if not location.startswith("/"):
        raise _wrong(text, "sqlite takes three slashes before a relative path and four before an absolute one")
    if "?" in location:
        raise _wrong(text, "sqlite URLs take no '?options' (a '?' in a file name is written %3F)")
    if location[1:] in {"", ":memory:"}:
        raise _wrong(text, "it names no file, and a table in memory cannot be shared between processes")
    if not hash_sign:
        raise _wrong(text, "it names no table: put '#table' behind the file")
    table, *columns = fragment.split("/")
    path = unquote(location[1:])
    return "sqlite", _absolute(text, path, cwd), _name(text, table), _partition(text, columns), path[0] != "/"


def _odps(text: str, rest: str) -> _Fields:
    project, *names = rest.split("/")
    if not names:
        raise _wrong(text, "it names no table")
    owner = [_name(text, name).lower() for name in project.split(".", 1)]
    if owner[1:] == [DEFAULT_SCHEMA]:
        del owner[1]
    partition = _partition(text, [_lower_name(column) for column in names[1:]])
    return "odps", ".".join(owner), _name(text, names[0]).lower(), partition, False


def _lower_name(column: str) -> str:
    name, equals, value = column.partition("=")
    return name.lower() + equals + value


def _file_url(text: str, rest: str) -> _Fields:
    path = rest.removeprefix("localhost")
    if not path.startswith("/"):
        raise _wrong(text, "file:// takes an absolute path (three slashes); write a relative one plainly")
    if "#" in path or "?" in path:
        raise _wrong(text, "a file has no table and no options ('#' and '?' in its name are written %23 and %3F)")
    return _file(text, unquote(path), None)


def _file(text: str, path: str, cwd: Path | None) -> _Fields:
    suffix = Path(path).suffix.lower()
    if suffix in {".db", ".sqlite", ".sqlite3"}:
        raise _wrong(text, f"a database is written sqlite:///{path}#TABLE")
    if suffix not in FILE_SUFFIXES:
        raise _wrong(text, f"a file's name must end in {', '.join(FILE_SUFFIXES)}")
    return "file", _absolute(text, path, cwd), None, (), not path.startswith("/")


def _absolute(text: str, path: str, cwd: Path | None) -> str:
    if "\0" in path:
        raise _wrong(text, "it holds a NUL character")
    return os.path.realpath((cwd or Path.cwd()) / path)


def _partition(text: str, columns: list[str]) -> Partition:
    pairs = [_pair(text, column) for column in columns]
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _wrong(text, f"partition column {', '.join(twice)} stands there twice")
    return tuple(sorted(pairs))


def _pair(text: str, column: str) -> tuple[str, str]:
    name, equals, value = column.partition("=")
    if not equals or not value:
        raise _wrong(text, f"{column!r} is not a partition: write column=value")
    return _name(text, name), unquote(value)


def _name(text: str, name: str) -> str:
    decoded = unquote(name)
    if not _NAME.fullmatch(decoded):
        raise _wrong(text, f"{decoded!r} is not a name: a letter or '_', then letters, digits, '_' and '-'")
    return decoded
