"""Partitions of a table: every address that matches a pattern with ``*``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from storage.errors import Unavailable, UsageError
from storage.tables.files.paths import stat_file
from storage.tables.sqlite.connection import (
    BUSY_TIMEOUT_SECONDS,
    columns_of,
    connect,
    decoded,
    names_of,
    quoted,
    reported,
    shown,
)
from storage.tables.wildcards import STAR, TablePartition, partition_of, stars_in, written_columns
from storage.uri import TableUrl

if TYPE_CHECKING:
    from storage.tables.odps.connection import OdpsConnection

__all__ = ["TablePartition", "exists", "list_partitions"]


def list_partitions(address: str, odps: OdpsConnection | None = None) -> list[TablePartition]:
    """List the partitions that match ``sqlite:////f.db#t/ds=*``, ``/files/ds=*.parquet`` or ``/files/ds=*/t.parquet``.

    A ``*`` matches any text without a slash, in a partition's value or a path's segment. An address without a ``*``
    lists that partition if it exists. ``UsageError`` for a missing table, ``Unavailable`` if it does not answer now.
    ``odps://`` addresses need ``odps``.
    """
    scheme, colon, _ = address.partition("://")
    if not colon or scheme == "file":
        return list(_files(_path_of(address)))
    url = TableUrl.parse(address)
    columns = written_columns(url, address)
    if url.scheme == "odps":
        if odps is None:
            raise UsageError(f"{url}: no MaxCompute connection was given to list partitions with")
        from storage.tables.odps.partitions import list_odps  # takes 100 MB of memory, so it is imported late

        return list_odps(url, columns, odps)
    return _of_sqlite(url, columns)


def exists(address: str, odps: OdpsConnection | None = None) -> bool:
    """True if a marker exists: a file or directory of any name, or a partition of a table."""
    scheme, colon, _ = address.partition("://")
    if not colon or scheme == "file":
        return _path_of(address).exists()
    return bool(list_partitions(address, odps))


def _path_of(address: str) -> Path:
    is_url = address.startswith("file://")
    return Path(unquote(address.removeprefix("file://").removeprefix("localhost")) if is_url else address).absolute()


# -- SQLite: a table with partition columns --


def _of_sqlite(url: TableUrl, columns: list[str]) -> list[TablePartition]:
    stat_file(url)
    wanted = dict(url.partition)
    fixed = [column for column in columns if STAR not in wanted[column]]
    matches = " AND ".join(f"{quoted(column)} = ?" for column in fixed) or "1"
    names = ", ".join(map(quoted, columns)) or "1"
    query = f"SELECT DISTINCT {names} FROM {quoted(str(url.table))} WHERE {matches}"  # noqa: S608 - names are quoted
    with reported(url.path), closing(connect(url, "ro", BUSY_TIMEOUT_SECONDS)) as connection:
        connection.text_factory = decoded
        present = names_of(connection)
        if url.table not in present:
            raise UsageError(f"{url}: {url.location} has no table {url.table} (tables found: {shown(present)})")
        there = tuple(column.name for column in columns_of(connection, str(url.table)))
        if unknown := [column for column in columns if column not in there]:
            raise UsageError(f"{url}: {url.table} has no column {', '.join(unknown)} (columns found: {shown(there)})")
        rows = connection.execute(query, [wanted[column] for column in fixed]).fetchall()
    found = (partition_of(url, columns, dict(zip(columns, row, strict=bool(columns)))) for row in rows)
    return sorted((one for one in found if one is not None), key=lambda one: one.url)


# -- files in directories --


def _files(pattern: Path) -> Iterator[TablePartition]:
    parts = pattern.parts
    depth = next((index for index, part in enumerate(parts) if STAR in part), len(parts) - 1)
    root = Path(*parts[:depth])
    if not root.is_dir():
        raise UsageError(f"{pattern}: there is no directory {root}. Create it, or correct the path")
    try:
        for path, stars in _walk(root, parts[depth:]):
            changed = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
            yield TablePartition(str(TableUrl.parse(str(path))), stars, changed)
    except OSError as error:
        raise Unavailable(f"{pattern}: {error}") from error


def _walk(directory: Path, parts: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    part, rest = parts[0], parts[1:]
    names = sorted(os.listdir(directory)) if STAR in part else [part]  # noqa: PTH208 - names, not paths
    for name in names:
        path, stars = directory / name, stars_in(part, name)
        if stars is None or not (path.is_dir() if rest else path.is_file()):
            continue
        if rest:
            yield from ((found, stars + more) for found, more in _walk(path, rest))
        else:
            yield path, stars
