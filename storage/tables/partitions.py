"""Which partitions a table has: every address that fits one with ``*`` in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from storage.errors import Unavailable, UsageError
from storage.tables.paths import stat_file
from storage.tables.sqlite import BUSY_TIMEOUT_SECONDS, columns_of, connect, decoded, names_of, quoted, reported, shown
from storage.uri import TableUrl

STAR = "*"


@dataclass(frozen=True, slots=True)
class TablePartition:
    """One partition. ``stars`` is what stands for each ``*`` of the address it was found by, as written there.

    ``modified_at`` is when it last changed, where the store knows.
    """

    url: str
    stars: tuple[str, ...]
    modified_at: datetime | None = None


def list_partitions(address: str) -> list[TablePartition]:
    """List what is there of ``sqlite:////f.db#videos/ds=*``, ``/files/ds=*.parquet`` or ``/files/ds=*/videos.parquet``.

    A ``*`` stands for any text without a slash, in a partition's value or a path's segment. Without one, the answer
    says whether the partition exists. ``UsageError`` when the table itself is missing, ``Unavailable`` when it cannot
    be asked now.
    """
    scheme, colon, _ = address.partition("://")
    if not colon or scheme == "file":
        return list(_files(_path_of(address)))
    url = TableUrl.parse(address)
    if url.scheme == "odps":
        # The case of MaxCompute: table.iterate_partitions(), with last_data_modified_time as modified_at.
        raise UsageError(f"{url}: the partitions of odps:// tables cannot be listed here yet")
    return _of_sqlite(url, _written_order(address))


def exists(address: str) -> bool:
    """Say whether a marker is there: a file or directory of any name, or a partition of a table."""
    scheme, colon, _ = address.partition("://")
    if not colon or scheme == "file":
        return _path_of(address).exists()
    return bool(list_partitions(address))


def _path_of(address: str) -> Path:
    is_url = address.startswith("file://")
    return Path(unquote(address.removeprefix("file://").removeprefix("localhost")) if is_url else address).absolute()


def _stars_in(pattern: str, text: str) -> tuple[str, ...] | None:
    """Return what stands for the stars, or ``None`` where the text does not fit."""
    found = re.fullmatch("([^/]*)".join(map(re.escape, pattern.split(STAR))), text)
    return found.groups() if found else None


# -- SQLite: a table with partition columns --


def _written_order(address: str) -> list[str]:
    """The partition's columns as they were written: a parsed URL has them sorted."""
    _, *columns = address.partition("#")[2].split("/")
    return [unquote(column.partition("=")[0]) for column in columns]


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
    found = (_partition(url, wanted, dict(zip(columns, row, strict=bool(columns)))) for row in rows)
    return sorted((one for one in found if one is not None), key=lambda one: one.url)


def _partition(url: TableUrl, wanted: dict[str, str], row: dict[str, object]) -> TablePartition | None:
    stars: list[str] = []
    for column, value in row.items():
        fitting = None if value is None else _stars_in(wanted[column], str(value))
        if fitting is None:
            return None
        stars += fitting
    values = "".join(f"/{column}={quote(str(row[column]), safe='')}" for column, _ in url.partition)
    return TablePartition(f"sqlite:///{quote(url.location)}#{url.table}{values}", tuple(stars))


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
        path, stars = directory / name, _stars_in(part, name)
        if stars is None or not (path.is_dir() if rest else path.is_file()):
            continue
        if rest:
            yield from ((found, stars + more) for found, more in _walk(path, rest))
        else:
            yield path, stars
