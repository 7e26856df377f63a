"""SQL statements on MaxCompute, with quoted names and a time limit. Every statement is idempotent."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

from storage.errors import Unavailable
from storage.records import GENERATION, ORDINAL, OUTPUT_COLUMNS, RESULT_INFO, RUN_ID
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.errors import reported
from storage.tables.odps.layout import TableLayout
from storage.uri import Partition

FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.05, 5.0
_PLAIN = re.compile(r"[\w-]+", re.ASCII)  # text that needs no escapes in SQL
WRITTEN_AT, BATCH = "written_at", "batch"  # keys of result_info in MaxCompute tables


def run_sql(table: OdpsTable, statement: str) -> Any:
    """Run a statement to its end and return the SDK's instance; ``Unavailable`` after the time limit."""
    limit_seconds = table.connection.limits.statement_seconds
    deadline, poll_seconds = time.monotonic() + limit_seconds, FIRST_POLL_SECONDS
    with reported(table.url, table.connection.provider):
        # With an identifier of its own, a statement whose reply was lost is not started again by the repeated request.
        instance = table.client.entry.run_sql(statement, unique_identifier_id=uuid4().hex)
        while not instance.is_terminated(retry=False):
            if time.monotonic() > deadline:
                instance.stop()
                raise Unavailable(f"{table.url}: a statement took over {limit_seconds:.0f} s: {statement:.100}…")
            time.sleep(poll_seconds)
            poll_seconds = min(poll_seconds * 2, LONGEST_POLL_SECONDS)
        instance.wait_for_success()  # it has ended: this raises the statement's error
    return instance


def create_table(table: OdpsTable, extras: Iterable[str]) -> str:
    """Return the statement that creates the output table: text columns and the URL's partition columns."""
    columns = [f"{quoted(column)} STRING" for column in (*OUTPUT_COLUMNS, *extras)]
    properties = ""
    if table.connection.new_tables == "delta":
        identity = [f"{quoted(RUN_ID)} STRING NOT NULL", f"{quoted(ORDINAL)} BIGINT NOT NULL"]
        columns = [*identity, *columns, f"PRIMARY KEY ({quoted(RUN_ID)}, {quoted(ORDINAL)})"]
        properties = " TBLPROPERTIES ('transactional'='true')"
    partitions = ", ".join(f"{quoted(column)} STRING" for column, _ in table.url.partition)
    partitioned = f" PARTITIONED BY ({partitions})" if partitions else ""
    return f"CREATE TABLE IF NOT EXISTS {table.quoted} ({', '.join(columns)}){partitioned}{properties}"


def add_partition(table: OdpsTable, partition: Partition) -> str:
    """Return the statement that creates a missing partition."""
    return f"ALTER TABLE {table.quoted} ADD IF NOT EXISTS PARTITION ({_spec(partition)})"


def select(table: OdpsTable, columns: Sequence[str], partition: Partition, run_id: str | None = None) -> str:
    """Return the statement that reads columns of the partition, without order.

    With ``run_id``, only rows that contain the key in the form in which tamis writes it.
    """
    key = f'"{RUN_ID}":"{run_id}"'
    of_run = f"INSTR({quoted(RESULT_INFO)}, '{key}') > 0" if run_id and _PLAIN.fullmatch(run_id) else ""
    where = _where(partition, of_run)
    return f"SELECT {_names(columns)} FROM {table.quoted}{where}"  # noqa: S608 - checked names and values


def create_view(table: OdpsTable, layout: TableLayout) -> str:
    """Return the statement that creates ``<table>_latest``: the newest row of each identity, and all foreign rows."""
    columns = (*layout.columns, *layout.partition_columns)
    newest = _newest(table, columns, layout.partition_columns, "")
    return f"CREATE VIEW IF NOT EXISTS {table.latest.quoted} AS {newest}"


def copy_newest(table: OdpsTable, layout: TableLayout, draft: Partition) -> str:
    """Return the statement that fills another partition with the rows that the view shows of the layout's."""
    newest = _newest(table, tuple(layout.columns), (), _where(layout.partition))
    return f"INSERT OVERWRITE TABLE {table.quoted} PARTITION ({_spec(draft)}) {newest}"


def count_rows(table: OdpsTable, layout: TableLayout) -> str:
    """Return the statement that counts all rows of the partition, and those that the view shows."""
    ranked = _ranked(table, (RESULT_INFO,), (), _where(layout.partition))
    return (
        f"SELECT COUNT(*) AS physical, SUM(CASE WHEN {_IS_SHOWN} THEN 1 ELSE 0 END) AS latest "  # noqa: S608 - checked names and values
        f"FROM ({ranked}) ranked"
    )


def rename_partition(table: OdpsTable, before: Partition, after: Partition) -> str:
    """Return the statement that renames a partition; it fails if ``after`` exists."""
    return f"ALTER TABLE {table.quoted} PARTITION ({_spec(before)}) RENAME TO PARTITION ({_spec(after)})"


def drop_partition(table: OdpsTable, partition: Partition) -> str:
    """Return the statement that drops a partition with its rows, if it exists."""
    return f"ALTER TABLE {table.quoted} DROP IF EXISTS PARTITION ({_spec(partition)})"


def _newest(table: OdpsTable, columns: Sequence[str], apart: Sequence[str], where: str) -> str:
    ranked = _ranked(table, columns, apart, where)
    return f"SELECT {_names(columns)} FROM ({ranked}) ranked WHERE {_IS_SHOWN}"  # noqa: S608 - checked names and values


def _ranked(table: OdpsTable, columns: Sequence[str], apart: Sequence[str], where: str) -> str:
    """Number the rows of each identity, the newest first, as :class:`~storage.tables.odps.rows.Stamp` orders them."""
    identity = ", ".join((*map(quoted, apart), _key(RUN_ID), _key(ORDINAL)))
    order = f"NVL(CAST({_key(GENERATION)} AS BIGINT), 0) DESC, {_key(WRITTEN_AT)} DESC, {_key(BATCH)} DESC"
    return (
        f"SELECT {_names(columns)}, ROW_NUMBER() OVER (PARTITION BY {identity} ORDER BY {order}) AS tamis_rank "  # noqa: S608 - checked names and values
        f"FROM {table.quoted}{where}"
    )


def quoted(name: str) -> str:
    """Return a quoted name."""
    return f"`{name}`"


def _key(key: str) -> str:
    return f"GET_JSON_OBJECT({quoted(RESULT_INFO)}, '$.{key}')"


def _names(columns: Iterable[str]) -> str:
    return ", ".join(map(quoted, columns))


def _spec(partition: Partition) -> str:
    return ", ".join(f"{quoted(column)}='{value}'" for column, value in partition)


def _where(partition: Partition, *conditions: str) -> str:
    parts = [*(f"{quoted(column)} = '{value}'" for column, value in partition), *filter(None, conditions)]
    return f" WHERE {' AND '.join(parts)}" if parts else ""


# Rows without an identity are of other writers: they are shown as they are.
_IS_SHOWN = f"tamis_rank = 1 OR {_key(RUN_ID)} IS NULL OR {_key(ORDINAL)} IS NULL"
