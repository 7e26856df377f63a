"""The columns of a MaxCompute table, and whether ours fit in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from odps import errors

from storage.errors import UsageError
from storage.records import INPUT_COLUMNS, ORDINAL, OUTPUT_COLUMNS, RUN_ID
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.errors import reported
from storage.uri import Partition, TableUrl

TEXT = "string"
OWN_COLUMNS = {RUN_ID: TEXT, ORDINAL: "bigint"}  # the identity, in a table that has columns for it
EXTRA_TYPES = (TEXT, "bigint", "int", "smallint", "tinyint", "double", "float", "boolean")

_VALUE = re.compile(r"[\w.:+ -]+")  # what stands in a partition specification and in SQL without quoting rules
_NEW_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class Layout:
    """A table's columns ``name -> type`` in order, all lower case, and the URL's partition in the table's order."""

    columns: dict[str, str]
    required: frozenset[str]
    partition: Partition
    primary_key: tuple[str, ...]

    @property
    def is_delta(self) -> bool:
        """Whether rows are upserted by key, and read by SQL."""
        return bool(self.primary_key)

    @property
    def has_identity(self) -> bool:
        """Whether the table has columns for run and ordinal."""
        return all(self.columns.get(name) == kind for name, kind in OWN_COLUMNS.items())

    @property
    def result_columns(self) -> tuple[str, ...]:
        """The columns of a result: all but our own."""
        return tuple(name for name in self.columns if not (self.has_identity and name in OWN_COLUMNS))

    @property
    def merges_rows(self) -> bool:
        """Whether two rows of one run may have one key, so that the later takes the earlier's place."""
        return self.is_delta and not set(OWN_COLUMNS) <= set(self.primary_key)

    @property
    def spec(self) -> str | None:
        """The partition as the SDK writes it."""
        return ",".join(f"{column}={value}" for column, value in self.partition) or None


def find_layout(table: OdpsTable) -> Layout | None:
    """What the table looks like; None when there is none. ``UsageError`` when the URL's partition is not its own."""
    with reported(table.url, table.connection.provider):
        handle = table.handle
        try:
            handle.reload()
        except errors.NoSuchTable:
            return None
        except errors.NoSuchObject as error:
            if isinstance(error, errors.NoSuchProject | errors.NoSuchPath):
                raise
            return None
        handle.reload_extend_info()  # only this tells of a primary key
        schema = handle.table_schema
        return Layout(
            columns={column.name.lower(): str(column.type).lower() for column in schema.simple_columns},
            required=frozenset(column.name.lower() for column in schema.simple_columns if column.nullable is False),
            partition=_partition(table.url, [column.name for column in schema.partitions]),
            primary_key=_key(handle.primary_key),
        )


def read_layout(table: OdpsTable) -> Layout:
    """What the table looks like; ``UsageError`` when there is none."""
    layout = find_layout(table)
    if layout is None:
        where = f"{table.project}{'.' if table.schema else ''}{table.schema}"
        raise UsageError(f"{table.url}: there is no table {table.name} in {where}. Create it, or correct the URL")
    return layout


def has_partition(table: OdpsTable, layout: Layout) -> bool:
    """Whether the partition is there; true of a table without any."""
    with reported(table.url, table.connection.provider):
        return layout.spec is None or layout.spec in table.handle.partitions


def check_input(url: TableUrl, layout: Layout) -> None:
    """``UsageError`` that names every missing and every wrongly typed column."""
    wrong = [f"{name} is {kind.upper()}" for name, kind in layout.columns.items() if not _may_be_read(name, kind)]
    missing = [name for name in INPUT_COLUMNS if name not in layout.columns]
    if missing or wrong:
        raise UsageError(
            f"{url}: {_faults(missing, wrong)} (columns found: {', '.join(layout.columns)}). Input columns are "
            f"{', '.join(INPUT_COLUMNS)}, all STRING (video_id may be BIGINT). Add or cast what is wrong"
        )


def check_output(url: TableUrl, layout: Layout, extras: Sequence[str]) -> None:
    """``UsageError`` that names every column that is missing, cannot take our values, or must have others."""
    wanted = [*OUTPUT_COLUMNS, *(column.lower() for column in extras)]
    missing = [name for name in wanted if name not in layout.columns or name not in layout.result_columns]
    present = [name for name in wanted if name in layout.columns]
    wrong = [f"{name} is {layout.columns[name].upper()}" for name in present if not _may_be_written(name, layout)]
    ours = {*wanted, *(OWN_COLUMNS if layout.has_identity else ())}
    if foreign := sorted((layout.required | set(layout.primary_key)) - ours):
        wrong.append(f"{', '.join(foreign)} must not be NULL and tamis has nothing to put in")
    if missing or wrong:
        raise UsageError(
            f"{url}: the table is there, but {_faults(missing, wrong)} (columns found: {', '.join(layout.columns)}). "
            f"Name a new table, or mend this one: ALTER TABLE {url.table} ADD COLUMNS (… STRING)"
        )


def check_new(url: TableUrl, extras: Iterable[str], *, is_delta: bool) -> None:
    """``UsageError`` for columns that a new table cannot have."""
    reserved = {*OUTPUT_COLUMNS, *(OWN_COLUMNS if is_delta else ()), *(column for column, _ in url.partition)}
    if bad := [name for name in extras if not _NEW_NAME.fullmatch(name) or name.lower() in reserved]:
        raise UsageError(f"{url}: the new table cannot have a column named {', '.join(bad)}. Rename it in the input")


def check_values(url: TableUrl, partition: Partition) -> None:
    """``UsageError`` for a partition value that MaxCompute's notation has no place for."""
    for column, value in partition:
        if not _VALUE.fullmatch(value):
            raise UsageError(f"{url}: {value!r} is no value for partition column {column}: letters, digits and .:+-_")


def _partition(url: TableUrl, columns: Sequence[str]) -> Partition:
    check_values(url, url.partition)
    given = {column.lower(): value for column, value in url.partition}
    if set(given) != {column.lower() for column in columns}:
        wanted = "".join(f"/{column}=…" for column in columns) or "none"
        named = "".join(f"/{column}=…" for column in given) or "none"
        raise UsageError(f"{url}: the table's partition columns are {wanted}, the URL names {named}. Name them all")
    return tuple((column, given[column.lower()]) for column in columns)


def _key(primary_key: Any) -> tuple[str, ...]:
    names = primary_key.split(",") if isinstance(primary_key, str) else primary_key or ()
    return tuple(name.strip().lower() for name in names)


def _may_be_read(name: str, kind: str) -> bool:
    is_text = kind == TEXT or kind.startswith(("varchar", "char"))
    return name not in INPUT_COLUMNS or is_text or (name == "video_id" and kind in EXTRA_TYPES[:5])


def _may_be_written(name: str, layout: Layout) -> bool:
    kind = layout.columns[name]
    return kind == TEXT if name in OUTPUT_COLUMNS else kind in EXTRA_TYPES


def _faults(missing: Sequence[str], wrong: Sequence[str]) -> str:
    return "; ".join(filter(None, (f"lacks {', '.join(missing)}" if missing else "", *wrong)))
