"""SQL statements on MaxCompute, with quoted names and a time limit. Every statement is idempotent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from storage.errors import Unavailable
from storage.records import ORDINAL, OUTPUT_COLUMNS, RESULT_INFO, RUN_ID
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.errors import reported
from storage.uri import Partition

FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.05, 5.0
WRITTEN_AT, BATCH = "written_at", "batch"  # keys of result_info in MaxCompute tables


def run_sql(table: OdpsTable, statement: str) -> Any:
    """Run a statement to its end and return the SDK's instance; ``Unavailable`` after the time limit."""
    limit_seconds = table.connection.limits.statement_seconds
    deadline, poll_seconds = time.monotonic() + limit_seconds, FIRST_POLL_SECONDS
    with reported(table.url, table.connection.provider):
        instance = table.client.entry.run_sql(statement)
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


def select(table: OdpsTable, columns: Sequence[str], partition: Partition) -> str:
    """Return the statement that reads columns of the partition, without order."""
    return f"SELECT {_names(columns)} FROM {table.quoted}{_where(partition)}"  # noqa: S608 - checked names and values


def keep_newest(table: OdpsTable, columns: Sequence[str], partition: Partition) -> str:
    """The statement that rewrites the partition with the newest row of each identity, and every row that has none."""
    run_id, ordinal, written_at, batch = (_key(key) for key in (RUN_ID, ORDINAL, WRITTEN_AT, BATCH))
    ranked = (
        f"SELECT {_names(columns)}, ROW_NUMBER() OVER (PARTITION BY {run_id}, {ordinal} "  # noqa: S608 - checked names and values
        f"ORDER BY {written_at} DESC, {batch} DESC) AS tamis_rank FROM {table.quoted}{_where(partition)}"
    )
    into = f" PARTITION ({_spec(partition)})" if partition else ""
    return (
        f"INSERT OVERWRITE TABLE {table.quoted}{into} SELECT {_names(columns)} FROM ({ranked}) ranked "  # noqa: S608 - checked names and values
        f"WHERE tamis_rank = 1 OR {run_id} IS NULL OR {ordinal} IS NULL"
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


def _where(partition: Partition) -> str:
    return " WHERE " + " AND ".join(f"{quoted(column)} = '{value}'" for column, value in partition) if partition else ""
