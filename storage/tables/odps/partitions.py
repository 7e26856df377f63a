"""Listing of a MaxCompute table's partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from odps import errors

from storage.errors import UsageError
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.compaction import is_leftover
from storage.tables.odps.connection import OdpsConnection
from storage.tables.odps.errors import reported
from storage.tables.wildcards import TablePartition, partition_of
from storage.uri import TableUrl


def list_odps(url: TableUrl, columns: Sequence[str], connection: OdpsConnection) -> list[TablePartition]:
    """List matching partitions; ``columns`` are the URL's, in the order written. One request per 1000 partitions."""
    with closing(OdpsTable(url, connection)) as table, reported(url, connection.provider):
        try:
            own = [column.name for column in table.handle.table_schema.partitions]
            if {name.lower() for name in own} != {name.lower() for name in columns}:
                raise UsageError(
                    f"{url}: the table's partition columns are {', '.join(own) or 'none'}, the address names "
                    f"{', '.join(columns)}. Name them all"
                )
            found = [(dict(one.partition_spec.items()), one) for one in table.handle.partitions.iterate_partitions()]
        except errors.NoSuchTable:
            raise UsageError(f"{url}: there is no table {table.name}. Create it, or correct the address") from None
    rows = ({name.lower(): value for name, value in values.items()} | {"": one} for values, one in found)
    listed = (partition_of(url, columns, row, _modified_at(row[""])) for row in rows if not _is_leftover(row))
    return sorted((one for one in listed if one is not None), key=lambda one: one.url)


def _is_leftover(row: Mapping[str, object]) -> bool:
    return any(isinstance(value, str) and is_leftover(value) for value in row.values())


def _modified_at(partition: Any) -> datetime | None:
    """Return the time of the last change if the list states it; the SDK's property would send one more request."""
    try:
        stated = object.__getattribute__(partition, "last_data_modified_time")
    except AttributeError:
        return None
    return stated.astimezone(UTC) if isinstance(stated, datetime) else None
