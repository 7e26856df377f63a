"""Schemas of tables (columns, partition columns, primary key), and partition specs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.servers.odps.refusals import Refusal

# The server's types, and SQLite's storage of their values: datetimes are milliseconds since 1970 in UTC,
# timestamps nanoseconds, booleans 0 and 1. Other types are only read as Arrow; their values are stored by ``pickle``.
STORED_AS = {
    "string": "TEXT", "bigint": "INTEGER", "int": "INTEGER", "boolean": "INTEGER", "double": "REAL",
    "datetime": "INTEGER", "timestamp": "INTEGER", "timestamp_ntz": "INTEGER",
    "tinyint": "INTEGER", "smallint": "INTEGER", "float": "REAL",
}  # fmt: skip

READ_ONLY = ("decimal", "date", "binary", "varchar", "char", "array<", "map<", "struct<")

Spec = tuple[tuple[str, str], ...]
"""A partition: (column, value) pairs in the table's order; empty for a table without partitions."""

Row = tuple[object, ...]
"""The values of one row as they are stored, in the table's order, partition columns left out."""


@dataclass(frozen=True, slots=True)
class ServedColumn:
    """A name and a key of ``STORED_AS``."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ServedSchema:
    """A table's schema. A table with a primary key is a Delta table: upserted, and read by SELECT only."""

    columns: tuple[ServedColumn, ...]
    partitions: tuple[ServedColumn, ...] = ()
    primary_key: tuple[str, ...] = ()
    is_transactional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, partition columns left out."""
        return tuple(column.name for column in self.columns)

    @property
    def types(self) -> tuple[str, ...]:
        """Their types."""
        return tuple(column.type for column in self.columns)

    def project(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the indexes of columns by name."""
        places = {name: place for place, name in enumerate(self.names)}
        unknown = [name for name in names if name not in places]
        if unknown:
            raise Refusal(400, "InvalidColumnSpec", f"The specified columns are not valid: {','.join(unknown)}")
        return tuple(places[name] for name in names)

    def spec(self, text: str) -> Spec:
        """Parse a partition: ``ds=x`` or ``ds='x',hh='1'``."""
        pairs = dict(_pairs(text))
        names = [column.name for column in self.partitions]
        if pairs.keys() != set(names):
            if not pairs:
                message = "You need to specify a partitionspec along with the specified table"
                raise Refusal(400, "MissingPartitionSpec", message)
            raise Refusal(400, "InvalidPartitionSpec", f"The specified partition is not valid: {text}")
        return tuple((name, pairs[name]) for name in names)

    def described(self) -> dict[str, object]:
        """Return the ``Schema`` of a table or a session, as JSON."""
        return {"columns": _described(self.columns), "partitionKeys": _described(self.partitions)}


def storage_class(kind: str) -> str:
    """Return SQLite's type for a column."""
    return STORED_AS.get(kind, "BLOB")


def columns_of(types: Mapping[str, str]) -> tuple[ServedColumn, ...]:
    """Return columns from names and types; ``ValueError`` for an unknown type."""
    unknown = {name: kind for name, kind in types.items() if not _is_known(kind.lower())}
    if unknown:
        raise ValueError(f"the test server knows no type for {unknown}: use one of {', '.join(STORED_AS)}")
    return tuple(ServedColumn(name.lower(), kind.lower()) for name, kind in types.items())


def _is_known(kind: str) -> bool:
    return kind in STORED_AS or kind.startswith(READ_ONLY)


def spec_text(spec: Spec) -> str:
    """Return ``ds=x,hh=1``."""
    return ",".join(f"{name}={value}" for name, value in spec)


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = [part for part in re.split(r"[,/]", text) if part.strip()]
    halves = [part.partition("=") for part in parts]
    return [(name.strip(" `").lower(), value.strip(" '\"")) for name, _, value in halves]


def _described(columns: Sequence[ServedColumn]) -> list[dict[str, object]]:
    return [{"name": one.name, "type": one.type, "comment": "", "label": "", "isNullable": True} for one in columns]
