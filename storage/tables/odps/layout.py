"""Columns of a MaxCompute table, and checks that input and result rows fit them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from odps import errors

from storage.errors import Unavailable, UsageError
from storage.records import INPUT_COLUMNS, ORDINAL, OUTPUT_COLUMNS, RESULT_INFO, RUN_ID
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.errors import reported
from storage.tables.odps.values import INTEGER_BOUNDS, TEXT, WRITERS
from storage.uri import Partition, TableUrl

OWN_COLUMNS = {RUN_ID: TEXT, ORDINAL: "bigint"}  # the row identity, in a table with columns for it

_VALUE = re.compile(
    r"[\w.:+-]([\w.:+ -]{0,253}[\w.:+-])?", re.ASCII
)  # values that need no escapes in a partition specification or in SQL
_NEW_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A table's columns ``name -> type`` in order, all lower case, and the URL's partition in the table's order."""

    columns: dict[str, str]
    required: frozenset[str]
    partition: Partition
    primary_key: tuple[str, ...]

    @property
    def partition_columns(self) -> tuple[str, ...]:
        """The partition columns in the table's order."""
        return tuple(column for column, _ in self.partition)

    @property
    def is_delta(self) -> bool:
        """True if rows are upserted by key and read by SQL."""
        return bool(self.primary_key)

    @property
    def has_identity(self) -> bool:
        """True if the table has columns for run and ordinal."""
        return all(self.columns.get(name) == kind for name, kind in OWN_COLUMNS.items())

    @property
    def result_columns(self) -> tuple[str, ...]:
        """The columns of a result row: all except ``OWN_COLUMNS``."""
        return tuple(name for name in self.columns if not (self.has_identity and name in OWN_COLUMNS))

    @property
    def merges_rows(self) -> bool:
        """True if two rows of one run may have equal keys, so that the later row replaces the earlier one."""
        return self.is_delta and not set(OWN_COLUMNS) <= set(self.primary_key)

    @property
    def spec(self) -> str | None:
        """The partition in the SDK's notation."""
        return spec_text(self.partition) or None


def spec_text(partition: Partition) -> str:
    """Return a partition in the SDK's notation, ``ds=20250115,hh=00``."""
    return ",".join(f"{column}={value}" for column, value in partition)


def find_layout(table: OdpsTable) -> TableLayout | None:
    """Return the table's layout, or None for a missing table; ``UsageError`` for partition columns that differ."""
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
        handle.reload_extend_info()  # the primary key is only in the extended description
        return _layout_of(table, handle)


def _layout_of(table: OdpsTable, handle: Any) -> TableLayout:
    columns, partitions = handle.table_schema.simple_columns, handle.table_schema.partitions
    if not columns or not all(column.name and column.type for column in (*columns, *partitions)):
        raise Unavailable(f"{table.url}: the reply from MaxCompute names no columns")
    return TableLayout(
        columns={column.name.lower(): str(column.type).lower() for column in columns},
        required=frozenset(column.name.lower() for column in columns if column.nullable is False),
        partition=_partition(table.url, [column.name for column in partitions]),
        primary_key=_key(handle.primary_key),
    )


def has_table(table: OdpsTable) -> bool:
    """True if a table or view of this name exists."""
    with reported(table.url, table.connection.provider):
        return bool(table.client.entry.exist_table(table.name, schema=table.schema or None))


def read_layout(table: OdpsTable) -> TableLayout:
    """Return the table's layout; ``UsageError`` for a missing table."""
    layout = find_layout(table)
    if layout is None:
        where = f"{table.project}{'.' if table.schema else ''}{table.schema}"
        raise UsageError(f"{table.url}: there is no table {table.name} in {where}. Create it, or correct the URL")
    return layout


def has_partition(table: OdpsTable, layout: TableLayout) -> bool:
    """True if the partition exists, or if the table has no partition columns."""
    with reported(table.url, table.connection.provider):
        return layout.spec is None or layout.spec in table.handle.partitions


def check_input(url: TableUrl, layout: TableLayout) -> None:
    """Raise a ``UsageError`` that names every missing or wrongly typed column; results are read as they are."""
    if RESULT_INFO in layout.columns:
        return
    wrong = [f"{name} is {kind.upper()}" for name, kind in layout.columns.items() if not _may_be_read(name, kind)]
    missing = [name for name in INPUT_COLUMNS if name not in layout.columns]
    if missing or wrong:
        raise UsageError(
            f"{url}: {_faults(missing, wrong)} (columns found: {', '.join(layout.columns)}). Input columns are "
            f"{', '.join(INPUT_COLUMNS)}, all STRING (video_id may be BIGINT). Add or cast what is wrong"
        )


def check_output(url: TableUrl, layout: TableLayout, extras: Sequence[str]) -> None:
    """Raise a ``UsageError`` that names every column that is missing, has a wrong type, or must not be NULL."""
    wanted = [*OUTPUT_COLUMNS, *(column.lower() for column in extras)]
    missing = [name for name in wanted if name not in layout.columns or name not in layout.result_columns]
    present = [name for name in wanted if name in layout.columns]
    wrong = [f"{name} is {layout.columns[name].upper()}" for name in present if not _may_be_written(name, layout)]
    ours = {*wanted, *(OWN_COLUMNS if layout.has_identity else ())}
    if foreign := sorted((layout.required | set(layout.primary_key)) - ours):
        wrong.append(f"{', '.join(foreign)} must not be NULL and tamis has no value for it")
    if missing or wrong:
        raise UsageError(
            f"{url}: the table is there, but {_faults(missing, wrong)} (columns found: {', '.join(layout.columns)}). "
            f"Name a new table, or correct this one: {_remedy(url, missing, wrong)}"
        )


def _remedy(url: TableUrl, missing: Sequence[str], wrong: Sequence[str]) -> str:
    columns = ", ".join(f"{name} STRING" for name in missing)
    types = f"output columns are STRING, others {', '.join(kind.upper() for kind in WRITERS)}"
    return "; ".join(
        filter(None, (f"ALTER TABLE {url.table} ADD COLUMNS ({columns})" if missing else "", types if wrong else ""))
    )


def check_new(url: TableUrl, extras: Iterable[str], *, is_delta: bool) -> None:
    """Raise a ``UsageError`` for column names that a new table cannot have."""
    reserved = {*OUTPUT_COLUMNS, *(OWN_COLUMNS if is_delta else ()), *(column for column, _ in url.partition)}
    if bad := [name for name in extras if not _NEW_NAME.fullmatch(name) or name.lower() in reserved]:
        raise UsageError(f"{url}: the new table cannot have a column named {', '.join(bad)}. Rename it in the input")


def check_values(url: TableUrl, partition: Partition) -> None:
    """Raise a ``UsageError`` for a partition value that MaxCompute's notation cannot express."""
    for column, value in partition:
        if not _VALUE.fullmatch(value):
            raise UsageError(
                f"{url}: {value!r} is not a value for partition column {column}: up to 255 letters, digits "
                "and .:+-_, with spaces only inside"
            )


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
    return name not in INPUT_COLUMNS or is_text or (name == "video_id" and kind in INTEGER_BOUNDS)


def _may_be_written(name: str, layout: TableLayout) -> bool:
    kind = layout.columns[name]
    return kind == TEXT if name in OUTPUT_COLUMNS else kind in WRITERS


def _faults(missing: Sequence[str], wrong: Sequence[str]) -> str:
    return "; ".join(filter(None, (f"lacks {', '.join(missing)}" if missing else "", *wrong)))
