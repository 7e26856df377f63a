"""Tables and rows in a SQLite database in memory."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.servers.odps.functions import register
from tests.servers.odps.refusals import Refusal
from tests.servers.odps.schema import Row, ServedColumn, ServedSchema, Spec, storage_class


@dataclass(slots=True)
class StoredTable:
    """A schema, and the partitions with the second of their last change."""

    name: str
    schema: ServedSchema
    created: int
    partitions: dict[Spec, int] = field(default_factory=dict)
    base: StoredTable | None = None  # of a view

    @property
    def partition_columns(self) -> tuple[ServedColumn, ...]:
        """The partition columns, of a view those of its base table."""
        return (self.base or self).schema.partitions


class Store:
    """The server's tables. Every method is atomic; ``transaction`` joins several calls."""

    def __init__(self) -> None:
        self.tables: dict[str, StoredTable] = {}
        self._lock = threading.RLock()
        self._depth = 0
        self._sqlite = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        register(self._sqlite)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._sqlite.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._sqlite.execute("BEGIN")
                yield self._sqlite
            except BaseException:
                if self._depth == 1:
                    self._sqlite.execute("ROLLBACK")
                raise
            else:
                if self._depth == 1:
                    self._sqlite.execute("COMMIT")
            finally:
                self._depth -= 1

    def create(self, name: str, schema: ServedSchema) -> None:
        """Create an empty table; the caller has checked that the name is free."""
        kept = [f"{_quoted(one.name)} {storage_class(one.type)}" for one in schema.columns]
        kept += [f"{_quoted(one.name)} TEXT" for one in schema.partitions]
        with self.transaction() as sqlite:
            sqlite.execute(f"CREATE TABLE {_quoted(name)} ({', '.join(kept)})")
            if schema.primary_key:
                key = ", ".join(map(_quoted, [*schema.primary_key, *(one.name for one in schema.partitions)]))
                sqlite.execute(f"CREATE UNIQUE INDEX {_quoted('key of ' + name)} ON {_quoted(name)} ({key})")
            partitions: dict[Spec, int] = {} if schema.partitions else {(): int(time.time())}
            self.tables[name] = StoredTable(name, schema, int(time.time()), partitions)

    def replace_columns(self, name: str, columns: tuple[ServedColumn, ...]) -> None:
        """Give a table other columns; rows keep their values of columns that stay."""
        table = self.table(name)
        before = table.schema.names
        kept = {spec: self.rows(name, spec) for spec in table.partitions}
        views = [
            (one, self._sqlite.execute("SELECT sql FROM sqlite_master WHERE name = ?", (one,)).fetchone()[0])
            for one, other in self.tables.items()
            if other.base is table
        ]
        with self.transaction() as sqlite:
            for view, _ in views:
                sqlite.execute(f"DROP VIEW {_quoted(view)}")
            sqlite.execute(f"DROP TABLE {_quoted(name)}")
            self.create(name, replace(table.schema, columns=columns))
            for spec, rows in kept.items():
                named = [dict(zip(before, row, strict=True)) for row in rows]
                self.write(name, spec, [tuple(row.get(one.name) for one in columns) for row in named])
            for _, statement in views:
                sqlite.execute(statement)

    def create_view(self, name: str, query: str, schema: ServedSchema, base: str) -> None:
        """Create a view of a query in SQLite's SQL."""
        with self.transaction() as sqlite:
            sqlite.execute(f"CREATE VIEW {_quoted(name)} AS {query}")
            self.tables[name] = StoredTable(name, schema, int(time.time()), base=self.tables[base])

    def drop(self, name: str) -> None:
        """Remove a table with its rows."""
        with self.transaction() as sqlite:
            sqlite.execute(f"DROP TABLE {_quoted(name)}")
            del self.tables[name]

    def table(self, name: str) -> StoredTable:
        """Return a table; ``Refusal`` 404 ``NoSuchObject`` for a missing one."""
        with self._lock:
            if (table := self.tables.get(name.lower())) is None:
                raise Refusal(404, "NoSuchObject", f"ODPS-0130131:Table not found - {name}")
            return table

    def partition(self, name: str, spec_text: str) -> Spec:
        """Return a partition; ``Refusal`` 404 ``NoSuchPartition`` for a missing one."""
        table = self.table(name)
        spec = table.schema.spec(spec_text)
        if spec not in table.partitions:
            raise Refusal(404, "NoSuchPartition", f"The specified partition does not exist: {spec_text}")
        return spec

    def add_partition(self, name: str, spec: Spec) -> None:
        """Add a partition unless it exists."""
        with self._lock:
            self.table(name).partitions.setdefault(spec, int(time.time()))

    def drop_partition(self, name: str, spec: Spec) -> None:
        """Remove a partition with its rows."""
        with self.transaction():
            self.clear(name, spec)
            del self.table(name).partitions[spec]

    def rename_partition(self, name: str, before: Spec, after: Spec) -> None:
        """Rename a partition; the caller has checked that ``after`` is free."""
        where, values = _where(before)
        changes = ", ".join(f"{_quoted(column)} = ?" for column, _ in after)
        with self.transaction() as sqlite:
            table = self.table(name)
            table.partitions[after] = table.partitions.pop(before)
            sqlite.execute(f"UPDATE {_quoted(name)} SET {changes} WHERE {where}", [*(v for _, v in after), *values])

    def clear(self, name: str, spec: Spec) -> None:
        """Remove a partition's rows."""
        where, values = _where(spec)
        with self.transaction() as sqlite:
            sqlite.execute(f"DELETE FROM {_quoted(name)} WHERE {where}", values)

    def rows(self, name: str, spec: Spec) -> list[Row]:
        """Return the rows of a partition, in the order of insertion."""
        names = ", ".join(map(_quoted, self.table(name).schema.names))
        where, values = _where(spec)
        with self.transaction() as sqlite:
            return sqlite.execute(
                f"SELECT {names} FROM {_quoted(name)} WHERE {where} ORDER BY rowid", values
            ).fetchall()

    def count(self, name: str, spec: Spec) -> int:
        """Return the number of rows in a partition."""
        where, values = _where(spec)
        with self.transaction() as sqlite:
            return int(sqlite.execute(f"SELECT COUNT(*) FROM {_quoted(name)} WHERE {where}", values).fetchone()[0])

    def write(self, name: str, spec: Spec, rows: Iterable[Row], *, is_overwrite: bool = False) -> None:
        """Append rows, or overwrite the partition; a row with an existing primary key replaces that row."""
        table = self.table(name)
        tail = tuple(value for _, value in spec)
        marks = ", ".join("?" * (len(table.schema.columns) + len(tail)))
        with self.transaction() as sqlite:
            if is_overwrite:
                self.clear(name, spec)
            statement = f"INSERT OR REPLACE INTO {_quoted(name)} VALUES ({marks})"
            sqlite.executemany(statement, ((*row, *tail) for row in rows))
            table.partitions[spec] = int(time.time())

    def delete(self, name: str, spec: Spec, key: Sequence[object]) -> None:
        """Remove the row with this primary key."""
        where, values = _where((*spec, *zip(self.table(name).schema.primary_key, key, strict=True)))
        with self.transaction() as sqlite:
            sqlite.execute(f"DELETE FROM {_quoted(name)} WHERE {where}", values)


def _where(pairs: Iterable[tuple[str, object]]) -> tuple[str, list[object]]:
    pairs = list(pairs)
    return " AND ".join(["1", *(f"{_quoted(name)} = ?" for name, _ in pairs)]), [value for _, value in pairs]


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
